"""What the documents say of metrics is what a worker shows."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from streams.engine.telemetry import PresentState
from streams.log_events import EVENTS
from streams.settings.worker import Settings
from streams.telemetry.metrics import Metrics
from streams.worker.policies import PoliciesInForce
from tests.unit.test_probes import WORKING

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/how-to/observability.md").read_text(encoding="utf-8")


def families() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of every metric of the product, as a worker that has done everything shows them."""
    metrics = Metrics("1", 2)
    policies = PoliciesInForce(Settings())
    metrics.worker_built(PresentState(lambda: WORKING, policies.shown, lambda: {"cache": 1}))
    metrics.timers_counted(3, 1)
    for name, counter in metrics._counters.items():
        counter.labels(*(name for _ in counter._labelnames))
    metrics._records.labels("0")
    found = {}
    for family in text_string_to_metric_families(metrics.page().decode()):
        if family.name.startswith("tes_"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = (family.type, labels)
    return found


def test_every_metric_is_described_with_its_kind_and_labels() -> None:
    described = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `(tes_\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE)
    }
    assert described == families()


def test_no_label_names_a_server_a_tenant_or_an_address() -> None:
    labels = {label for _, names in families().values() for label in names}
    assert not labels & {"server", "tenant", "tenant_id", "source_ip", "helo", "connector_id"}


def test_every_event_is_described_and_logged_somewhere() -> None:
    described = dict(re.findall(r"^\| `([a-z_]+)` \| ([A-Z][^|]*?\.) \|", PAGE, re.MULTILINE))
    assert described == dict(EVENTS)
    source = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "streams").rglob("*.py"))
    assert set(re.findall(r"\blog_event\(\s*\"(\w+)\"", source)) == set(EVENTS)
