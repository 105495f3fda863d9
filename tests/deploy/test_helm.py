"""What the chart promises: it is what `deploy/k8s` is, its values are checked by name, its settings are the product's.

`scripts/k8s` runs it through a real helm, and on a real API server.
"""

from __future__ import annotations

import copy
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from streams.edge.connectors.files import parse_connectors
from streams.settings.base import variables_of
from streams.settings.edge import read_edge_settings
from streams.settings.notify import read_notify_settings
from streams.settings.report import read_report_settings
from streams.settings.worker import read_settings
from tests.deploy.chart import make as chart
from tests.deploy.chart.template import Block, Inline, Present, Rest, TemplateError, Text, When, document
from tests.deploy.chart.values import FIXED, KINDS, VALUES
from tests.deploy.helm import release_script
from tests.deploy.manifests import REPOSITORY, SOURCES, environment_of, rendered

SETTINGS = ("worker.settings", "edge.settings", "edge.kafka", "report.settings", "notify.settings")
DIGEST = "sha256:" + "0" * 64
TEMPLATES = sorted((chart.CHART / "templates").iterdir())


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((chart.CHART / "values.yaml").read_text(encoding="utf-8"))
    return found


def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((chart.CHART / "values.schema.json").read_text(encoding="utf-8"))
    return found


def at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


def merged(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Values with others put over them, as Helm does."""
    both = {
        name: merged(base[name], value) if isinstance(value, dict) and isinstance(base.get(name), dict) else value
        for name, value in {**base, **other}.items()
    }
    return {name: value for name, value in both.items() if value is not None}


def with_value(path: str, value: Any) -> dict[str, Any]:
    *folders, name = path.split(".")
    tree: Any = {name: value}
    for folder in reversed(folders):
        tree = {folder: tree}
    return merged(values(), tree)


def errors_of(content: Any) -> list[str]:
    """What the schema says against values: where, and what."""
    found = jsonschema_rs.validator_for(schema()).iter_errors(content)
    return [f"/{'/'.join(map(str, error.instance_path))}: {error.message}" for error in found]


def test_the_chart_is_what_is_made_of_the_manifests() -> None:
    made = chart.make()
    there = {path: (chart.CHART / path).read_text(encoding="utf-8") for path in made if (chart.CHART / path).exists()}
    assert there == made, "deploy/k8s or a setting changed: run scripts/k8s render"
    assert set(chart.files_of(chart.CHART)) == {*made, *chart.BY_HAND, *chart.LINKED}


def test_a_manifest_that_the_chart_does_not_know_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    another = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "tes-another"}}
    monkeypatch.setattr(chart, "rendered", lambda overlay: [*rendered(overlay), another])
    with pytest.raises(chart.ChartError, match="chart: the chart does not know Service tes-another"):
        chart.make()


def test_a_component_that_changes_more_than_the_chart_knows_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_one_more(overlay: str) -> list[dict[str, Any]]:
        found = copy.deepcopy(rendered(overlay))
        for item in found:
            if overlay == "pvc" and item["kind"] == "StatefulSet":
                item["spec"]["minReadySeconds"] = 60
        return found

    monkeypatch.setattr(chart, "rendered", with_one_more)
    with pytest.raises(chart.ChartError, match=r"pvc: it changes \['minReadySeconds', "):
        chart.make()


def test_the_version_is_the_projects() -> None:
    told = yaml.safe_load((chart.CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert told["version"] == told["appVersion"] == chart.VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", chart.VERSION)


@pytest.mark.parametrize("path", chart.LINKED)
def test_what_has_braces_of_its_own_is_a_link_to_the_overlay(path: str) -> None:
    assert (chart.CHART / path).resolve() == SOURCES / "overlays" / "monitoring" / Path(path).name
    assert not Path((chart.CHART / path).readlink()).is_absolute()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_says_what_a_value_or_the_release_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*namespace:", text, re.MULTILINE)
    images = re.findall(r"^\s*(?:- )?image: (.*)$", text, re.MULTILINE)
    assert set(images) <= {'{{ include "tes.image" . | quote }}'}
    assert chart.VERSION not in text
    for secret in (at(values(), path) for path in VALUES if ".secrets." in path):
        assert secret not in text


def test_every_value_is_used_and_every_use_is_a_value() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in TEMPLATES)
    used = set(re.findall(r"\.Values\.([\w.]*\w)", text))
    known = set(VALUES)
    for path in used:
        assert path in known or any(path.startswith(f"{one}.") or one.startswith(f"{path}.") for one in known), path
    assert not {path for path in known if not any(f"{path}.".startswith(f"{one}.") for one in used)}


def test_defaults_are_valid_and_production_is_too() -> None:
    assert not errors_of(values())
    production = yaml.safe_load((chart.CHART / chart.PRODUCTION).read_text(encoding="utf-8"))
    assert production["pvc"] == {"enabled": True}
    assert not errors_of(merged(values(), production))


def test_production_says_what_the_overlay_says() -> None:
    production = yaml.safe_load((chart.CHART / chart.PRODUCTION).read_text(encoding="utf-8"))
    told = {name: str(value) for name, value in merged(values(), production)["worker"]["settings"].items()}
    wanted = environment_of(rendered("production"))
    assert told == {name: text for name, text in wanted.items() if name not in {*FIXED["worker"], "TES_INSTANCE_ID"}}


@pytest.mark.parametrize("path", SETTINGS)
def test_every_setting_is_one_of_the_product(path: str) -> None:
    part = path.partition(".")[0]
    known = variables_of(KINDS[part])
    assert set(at(values(), path)) <= known
    allowed = set(at(schema(), f"properties.{part}.properties.{path.partition('.')[2]}.properties"))
    assert allowed <= known
    assert not allowed & set(FIXED[part])


def test_every_setting_is_a_value_or_is_left_out_for_a_reason() -> None:
    for part, kind in KINDS.items():
        tree = at(schema(), f"properties.{part}.properties")
        allowed = {name for place in ("settings", "kafka") for name in tree.get(place, {}).get("properties", ())}
        left = variables_of(kind) - allowed - set(FIXED[part])
        secret = {name for name in left if re.search("PASSWORD$|SECRET$|SESSION_KEY$|DATABASE$", name)}
        assert left - secret <= {
            *("TES_INSTANCE_ID", "TES_EDGE_HOST", "TES_CACHE_DIR", "TES_EDGE_MILTER_MODE"),
            *("TES_REPORT_DIR", "TES_REPORT_LOCAL_SIGN_IN", "TES_REPLAY_UNTIL"),
            *("TES_CRASH_AT", "TES_EDGE_CRASH_AT", "TES_REPORT_CRASH_AT", "TES_NOTIFY_CRASH_AT"),
        }


def test_the_processes_take_the_settings() -> None:
    found = values()
    workers = {name: str(value) for name, value in found["worker"]["settings"].items()}
    assert read_settings(workers).partitions == 12
    edge = {name: str(value) for part in ("settings", "kafka") for name, value in found["edge"][part].items()}
    assert read_edge_settings(edge).mode == "report"
    report = {name: str(value) for name, value in found["report"]["settings"].items()}
    assert read_report_settings(report).public_url == "https://tes.example.com"
    notify = {name: str(value) for name, value in found["notify"]["settings"].items()}
    assert read_notify_settings(notify).in_flight == 1000
    assert parse_connectors(found["edge"]["connectors"], "values.yaml")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("worker.replicas", "three", '/worker/replicas: "three" is not of type "integer"'),
        ("worker.replicas", -1, "/worker/replicas: -1 is less than the minimum of 0"),
        ("worker.replicas", None, '/worker: "replicas" is a required property'),
        ("worker.replica", 3, "/worker: Additional properties are not allowed ('replica' was unexpected)"),
        ("replicas", 3, "/: Additional properties are not allowed ('replicas' was unexpected)"),
        ("worker.settings.TES_PARTITONS", 12, "'TES_PARTITONS' was unexpected"),
        ("worker.settings.TES_PARTITIONS", "many", '/worker/settings/TES_PARTITIONS: "many" does not match'),
        ("worker.settings.TES_PARTITIONS", 1.5, "/worker/settings/TES_PARTITIONS: 1.5 is not of types"),
        ("worker.settings.TES_PARTITIONS", None, '/worker/settings: "TES_PARTITIONS" is a required property'),
        ("worker.settings.TES_ALLOW_PLAINTEXT", "no", "/worker/settings/TES_ALLOW_PLAINTEXT: "),
        # YAML reads it as a number in octal digits.
        ("worker.settings.TES_APP_ID", 0o660, "/worker/settings/TES_APP_ID: 432 is not of type"),
        ("worker.settings.TES_WEB_PORT", 7000, "'TES_WEB_PORT' was unexpected"),
        ("worker.settings.TES_KAFKA_PASSWORD", "secret", "'TES_KAFKA_PASSWORD' was unexpected"),
        ("worker.settings.TES_EDGE_MODE", "enforce", "'TES_EDGE_MODE' was unexpected"),
        ("edge.settings.TES_KAFKA_BOOTSTRAP", "kafka:9092", "'TES_KAFKA_BOOTSTRAP' was unexpected"),
        ("report.settings.TES_REPORT_DATABASE", "postgresql://u:p@h/d", "'TES_REPORT_DATABASE' was unexpected"),
        ("image.repository", "", "/image/repository: "),
        ("image.digest", "sha256:1", '/image/digest: "sha256:1" does not match'),
        ("image.tag", "a b", '/image/tag: "a b" does not match'),
        ("image.pullPolicy", "always", '/image/pullPolicy: "always" is not one of'),
        ("worker.resources.limits.memory", "2 GB", '/worker/resources/limits/memory: "2 GB" does not match'),
        ("worker.resources.limit", {"memory": "2Gi"}, "'limit' was unexpected"),
        ("worker.secrets.kafka", "Tes_Kafka", '/worker/secrets/kafka: "Tes_Kafka" does not match'),
        ("report.cpuPercent", 120, "/report/cpuPercent: 120 is greater than the maximum of 100"),
        ("edge.enabled", "yes", '/edge/enabled: "yes" is not of type "boolean"'),
        ("edge.egress", [{"port": 9093}], "/edge/egress/0: Additional properties are not allowed ('port' was"),
        ("pvc.accessModes", ["ReadWriteMany"], "/pvc/accessModes/0: "),
        ("keda.minReplicas", 0, "/keda/minReplicas: 0 is less than the minimum of 1"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(path: str, value: Any, said: str) -> None:
    found = errors_of(with_value(path, value))
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("worker.settings.TES_PARTITIONS", "24"),
        ("worker.settings.TES_STATE_CACHE_BYTES", 536870912),
        ("worker.settings.TES_TICK_SECONDS", 0.5),
        ("worker.settings.TES_ALLOW_PLAINTEXT", False),
        ("operator.settings.TES_KAFKA_USER", "tes-operator"),
        ("image.digest", DIGEST),
        ("worker.resources.limits.cpu", 2),
        ("worker.tolerations", [{"key": "mail", "operator": "Exists"}]),
        ("worker.egress", [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 9093}]}]),
        ("edge.connectors", ""),
        # What a chart that depends on this one gives all its charts.
        ("global", {"imageRegistry": "registry.example.com"}),
    ],
)
def test_a_right_value_is_taken(path: str, value: Any) -> None:
    assert not errors_of(with_value(path, value))


def test_every_value_says_what_it_is_for() -> None:
    text = (chart.CHART / "values.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    for path in VALUES:
        name = path.rpartition(".")[2]
        pad = "  " * path.count(".")
        starts = [index for index, line in enumerate(lines) if line.startswith(f"{pad}{name}:")]
        assert starts
        assert all(lines[index - 1].startswith(f"{pad}# ") for index in starts), path


def test_the_archive_is_the_chart_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    release = release_script()
    for name in ("one", "two"):
        release.pack_chart(REPOSITORY, 1_700_000_000, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as archive:
        assert all(member.isfile() for member in archive)
        assert archive.getnames() == [f"tes/{path}" for path in chart.files_of(chart.CHART)]
        rules = archive.extractfile("tes/files/rules.yaml")
        assert rules is not None
        assert rules.read() == (SOURCES / "overlays" / "monitoring" / "rules.yaml").read_bytes()


def test_a_template_has_expressions_where_they_were_put() -> None:
    content = {
        "kind": "Any",
        "labels": {"one": "1", Rest(".Values.labels"): None},
        "spec": {
            "replicas": When("not .Values.auto", Inline(".Values.replicas | int")),
            "nodes": Present(".Values.nodes"),
            "resources": Block("toYaml .Values.resources"),
            "text": Text('.Files.Get "a"'),
            "items": [{"name": "a", "command": ["sleep", "5"]}, When(".Values.b", {"name": "b"}), Rest(".Values.more")],
            "none": {},
        },
    }
    assert document(content) == (
        "kind: Any\n"
        "labels:\n"
        "  one: '1'\n"
        "{{- with .Values.labels }}\n"
        "  {{- toYaml . | nindent 2 }}\n"
        "{{- end }}\n"
        "spec:\n"
        "{{- if not .Values.auto }}\n"
        "  replicas: {{ .Values.replicas | int }}\n"
        "{{- end }}\n"
        "{{- with .Values.nodes }}\n"
        "  nodes:\n"
        "    {{- toYaml . | nindent 4 }}\n"
        "{{- end }}\n"
        "  resources:\n"
        "    {{- toYaml .Values.resources | nindent 4 }}\n"
        "  text: |\n"
        '    {{- .Files.Get "a" | nindent 4 }}\n'
        "  items:\n"
        "    - name: a\n"
        "      command:\n"
        "        - sleep\n"
        "        - '5'\n"
        "{{- if .Values.b }}\n"
        "    - name: b\n"
        "{{- end }}\n"
        "{{- with .Values.more }}\n"
        "    {{- toYaml . | nindent 4 }}\n"
        "{{- end }}\n"
        "  none: {}\n"
    )


@pytest.mark.parametrize("text", ["{{ $labels.pod }}", "two\nlines"])
def test_text_that_helm_would_read_as_its_own_is_refused(text: str) -> None:
    with pytest.raises(TemplateError, match="must be one line without an expression"):
        document({"summary": text})
