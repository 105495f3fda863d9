"""What the documents say of metrics is what the processes show."""

from __future__ import annotations

import re

from streams.log_events import EVENTS
from tests.support.edge_page import edge_families
from tests.support.metrics_page import REPOSITORY, families
from tests.support.notify_page import notify_families
from tests.support.report_page import report_families

PAGE = (REPOSITORY / "docs/how-to/observability.md").read_text(encoding="utf-8")
SHOWN = families() | edge_families() | report_families() | notify_families()


def test_every_metric_is_described_with_its_kind_and_labels() -> None:
    described = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `(tes_\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE)
    }
    assert described == SHOWN


def test_no_label_names_a_server_a_tenant_or_an_address() -> None:
    labels = {label for _, names in SHOWN.values() for label in names}
    assert not labels & {"server", "tenant", "tenant_id", "source_ip", "helo", "connector_id"}


def test_every_event_is_described_and_logged_somewhere() -> None:
    described = dict(re.findall(r"^\| `([a-z_]+)` \| ([A-Z][^|]*?\.) \|", PAGE, re.MULTILINE))
    assert described == dict(EVENTS)
    source = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "streams").rglob("*.py"))
    assert set(re.findall(r"\blog_event\(\s*\"(\w+)\"", source)) == set(EVENTS)
