"""What the door shows of itself: decisions by cause, failures without a flood, and what is lost."""

from __future__ import annotations

import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.domain.edge import Cause, Decision, Trust
from streams.domain.policy.ladder import Action
from streams.edge.failures import MAX_ERROR_CHARS, FailureLog, short_trace
from streams.edge.probes import door_readyz
from streams.edge.telemetry import DoorTelemetry
from streams.telemetry.logs import TextFormatter
from tests.support.edge_page import STATUS


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def telemetry(clock: Clock | None = None) -> DoorTelemetry:
    return DoorTelemetry("1", lambda: STATUS, clock or Clock())


def samples(told: DoorTelemetry) -> dict[str, float]:
    families = text_string_to_metric_families(told.metrics.page().decode())
    return {
        " ".join([sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))]): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("tes_edge")
    }


def test_decisions_are_counted_by_moment_action_and_cause_and_never_by_reply() -> None:
    told = telemetry()
    for place in range(3):
        told.answered("message", Decision(Action.BLOCK, Cause.BLOCKED, f"550 5.7.230 {place}"), 0.0001)
    told.answered("mail", Decision(Action.THROTTLE, Cause.AGED, "450"), 0.3)
    found = samples(told)
    assert found["tes_edge_decisions_total action=BLOCK cause=BLOCKED moment=message"] == 3
    assert found["tes_edge_decisions_total action=THROTTLE cause=AGED moment=mail"] == 1
    assert found["tes_edge_decision_seconds_count moment=message"] == 3
    assert found["tes_edge_decision_seconds_bucket le=0.0001 moment=message"] == 3
    assert found["tes_edge_decision_seconds_bucket le=0.25 moment=mail"] == 0


def test_the_present_state_is_on_the_page() -> None:
    found = samples(telemetry())
    assert found["tes_edge_ready"] == 1
    assert found["tes_edge_trust trust=AGED"] == 1
    assert found["tes_edge_trust trust=CURRENT"] == 0
    assert found["tes_edge_knowledge_age_seconds"] == 12.34
    assert found["tes_edge_sync_age_seconds"] == 3
    assert (found["tes_edge_spool_events"], found["tes_edge_spool_bytes"]) == (7, 900)
    assert found["tes_edge_events_dropped_total reason=uneventful"] == 2
    assert found["tes_edge_connectors source=topic"] == 2


def test_what_was_never_known_is_missing() -> None:
    told = DoorTelemetry("1", lambda: STATUS._replace(knowledge_age=None, sync_age=None))
    assert not {"tes_edge_knowledge_age_seconds", "tes_edge_sync_age_seconds"} & samples(told).keys()


def test_the_servers_are_counted_apart() -> None:
    told = telemetry()
    told.of_milter.opened()
    told.of_milter.protocol_error("bad")
    told.of_milter.unattributed("bad")
    told.of_http.opened()
    told.of_http.closed()
    told.of_http.turned_away()
    told.of_http.refused(415)
    told.of_http.failed("request", ValueError("x"))
    found = samples(told)
    assert found["tes_edge_open_connections door=milter"] == 1
    assert found["tes_edge_open_connections door=http"] == 0
    assert found["tes_edge_connections_total door=http"] == 1
    assert found["tes_edge_turned_away_connections_total door=http"] == 1
    assert found["tes_edge_refused_requests_total door=milter reason=protocol"] == 1
    assert found["tes_edge_refused_requests_total door=http reason=415"] == 1
    assert found["tes_edge_unattributed_clients_total"] == 1
    assert found["tes_edge_failures_total where=http request"] == 1


def failing(depth: int) -> None:
    if depth:
        failing(depth - 1)
    raise ValueError("x\x1b[31m" + "y" * 5000)


def failure(depth: int = 0) -> Exception:
    with pytest.raises(ValueError, match="x") as raised:
        failing(depth)
    return raised.value


def test_a_failure_is_told_with_a_short_trace_and_not_for_each_message(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    failures = FailureLog(clock)
    for _ in range(1000):
        failures.add("message", failure(50))
    failures.add("mail", failure())
    assert len(caplog.records) == 2
    clock.now = 10.0
    failures.add("message", failure())
    first, _, last = caplog.records
    assert last.fields["more"] == 999  # type: ignore[attr-defined]
    line = TextFormatter([]).format(first)
    assert "\x1b" not in line
    assert line.count("y") < MAX_ERROR_CHARS + 100
    assert line.count(" < ") == 5
    assert " failing < " in short_trace(failure(50))


def test_lost_events_are_counted_and_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    told = telemetry(clock)
    for place in range(100):
        told.event_lost("contoso", f"event-{place}")
    clock.now = 10.0
    told.event_lost("contoso", "last")
    assert samples(told)["tes_edge_events_lost_total"] == 101
    assert [record.fields["count"] for record in caplog.records] == [1, 100]  # type: ignore[attr-defined]


def test_a_change_of_trust_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told = telemetry()
    for trust in (Trust.EMPTY, Trust.EMPTY, Trust.CURRENT, Trust.STALE, Trust.STALE):
        told.trust_seen(trust)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


@pytest.mark.parametrize(("age", "is_alive"), [(None, False), (3.0, True), (31.0, False)])
def test_readyz_says_whether_sync_is_alive(age: float | None, is_alive: bool) -> None:
    is_ready, body = door_readyz(STATUS._replace(sync_age=age))
    assert is_ready
    assert body["sync"] == {"alive": is_alive, "seconds_ago": age}
    assert body["trust"] == "aged"


def test_readyz_says_why_not() -> None:
    is_ready, body = door_readyz(STATUS._replace(not_ready_because="stale", trust=Trust.STALE))
    assert not is_ready
    assert (body["why"], body["trust"]) == ("stale", "stale")
