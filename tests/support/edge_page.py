"""Every metric that the processes of an edge show."""

from __future__ import annotations

from streams.domain.edge import Cause, Decision, Trust
from streams.domain.policy.ladder import Action
from streams.edge.door_metrics import DoorStatus
from streams.edge.sync_metrics import SyncMetrics
from streams.edge.telemetry import DoorTelemetry
from tests.support.metrics_page import families_of
from tests.support.sync_status import NOW, WORKING

STATUS = DoorStatus(
    not_ready_because=None,
    trust=Trust.AGED,
    knowledge_age=12.34,
    clock_skew=0.5,
    sync_age=3.0,
    spool_events=7,
    spool_bytes=900,
    dropped={"uneventful": 2, "unstored": 0},
    connectors={"file": 1, "topic": 2},
    connector_errors=("one",),
)


def edge_families() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of every metric, as a door and sync that have done everything show them."""
    told = DoorTelemetry("1", lambda: STATUS)
    told.answered("message", Decision(Action.BLOCK, Cause.BLOCKED, "550"), 0.1)
    told.failed("message", ValueError("x"))
    told.of_milter.turned_away()
    told.of_milter.protocol_error("x")
    pages = (told.metrics.page(), SyncMetrics("1", lambda: WORKING, lambda: NOW).page())
    # The build has a label less than a worker's.
    return {name: row for page in pages for name, row in families_of(page).items() if name.startswith("tes_edge_")}
