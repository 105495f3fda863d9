"""Each query of alerts and dashboard names what there is; each alert fires where it should, and has its page."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.edge_page import edge_families
from tests.support.metrics_page import REPOSITORY, families
from tests.support.notify_page import notify_families
from tests.support.report_page import report_families

MONITORING = REPOSITORY / "deploy/k8s/overlays/monitoring"
RUNBOOKS = REPOSITORY / "docs/runbooks"
CASES = Path(__file__).with_name("alerts.yaml")
OF_THE_SCRAPE = {"namespace", "job", "pod"}
"""Labels that the PodMonitor adds."""
OF_OTHERS = {"process_start_time_seconds": set[str](), "process_resident_memory_bytes": set[str]()}

GROUPS: list[dict[str, Any]] = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
QUERIES = [
    target["expr"].replace("$namespace", "tes").replace("$__rate_interval", "5m")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]


def promtool(*arguments: str, folder: Path) -> None:
    done = subprocess.run(
        [REPOSITORY / "scripts/promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def series() -> dict[str, set[str]]:
    """Every series of a worker, an edge, the report and what tells people, with its labels."""
    found = dict(OF_OTHERS)
    for name, (kind, labels) in (families() | edge_families() | report_families() | notify_families()).items():
        if kind == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found


def unknown(query: str, known: dict[str, set[str]]) -> list[str]:
    """Metrics that neither shows, and labels that the metric in front of them does not have."""
    bare = re.sub(r'"[^"]*"', '""', query)
    wrong = [name for name in re.findall(r"\b(?:tes|process)_\w+", bare) if name not in known]
    for name, matchers in re.findall(r"\b((?:tes|process)_\w+)\{([^}]*)\}", bare):
        labels = set(re.findall(r"(\w+)\s*[=!]", matchers))
        wrong += [f"{name}{{{label}}}" for label in labels - known.get(name, set()) - OF_THE_SCRAPE]
    everything = set[str]().union(*known.values()) | OF_THE_SCRAPE
    for labels_text in re.findall(r"\b(?:by|on|group_left|without)\s*\(([^)]*)\)", bare):
        wrong += [label for label in re.findall(r"\w+", labels_text) if label not in everything]
    return wrong


def test_every_query_names_metrics_and_labels_that_there_are() -> None:
    known = series()
    queries = [rule["expr"] for rule in ALERTS.values()] + QUERIES
    assert len(QUERIES) > 20
    assert {query: found for query in queries if (found := unknown(query, known))} == {}
    assert unknown('rate(tes_gone_total{pod="x"}[5m])', known) == ["tes_gone_total"]
    assert unknown('tes_ready{stage="1"}', known) == ["tes_ready{stage}"]


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    text = " ".join([rule["expr"] for rule in ALERTS.values()] + QUERIES)
    assert [name for name in families() | report_families() | notify_families() if name not in text] == []


def test_promtool_finds_the_rules_and_the_queries_sound(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": GROUPS}))
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(QUERIES)]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yaml"), str(tmp_path / "panels.yaml"), folder=tmp_path)


def test_every_alert_fires_where_it_should_and_only_there(tmp_path: Path) -> None:
    cases = yaml.safe_load(CASES.read_text())
    expected = [case for test in cases["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in expected if case.get("exp_alerts")} == set(ALERTS)
    # Sentences are for people; which labels they may name is looked at below.
    groups = [{**group, "rules": [{**rule, "annotations": {}} for rule in group["rules"]]} for group in GROUPS]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    (tmp_path / "alerts.yaml").write_text(CASES.read_text())
    promtool("test", "rules", str(tmp_path / "alerts.yaml"), folder=tmp_path)
    for case in expected:
        named = set(re.findall(r"\$labels\.(\w+)", ALERTS[case["alertname"]]["annotations"]["summary"]))
        for fired in case.get("exp_alerts", ()):
            assert named <= set(fired["exp_labels"]), case["alertname"]


def test_a_case_that_should_not_fire_is_found(tmp_path: Path) -> None:
    cases = yaml.safe_load(CASES.read_text())
    cases["tests"] = cases["tests"][:1]
    cases["tests"][0]["alert_rule_test"][0]["eval_time"] = "13m"
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": GROUPS}))
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(cases))
    with pytest.raises(AssertionError, match="TesNoWorkerReady"):
        promtool("test", "rules", str(tmp_path / "alerts.yaml"), folder=tmp_path)


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    pages = {path.stem: path.read_text(encoding="utf-8") for path in RUNBOOKS.glob("Tes*.md")}
    assert set(pages) == set(ALERTS)
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{name}.md"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert pages[name].startswith(f"# {name}")
        assert f"({name}.md)" in index
        assert f"| `{rule['labels']['severity']}` |" in re.findall(rf"\[{name}\].*", index)[-1]
        assert {"## What it means", "## Look", "## Do"} <= set(pages[name].splitlines())
