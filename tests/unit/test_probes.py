"""What the probes say, by the state of the worker."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.engine.status import BEFORE_THE_START, Phase, WorkerStatus
from streams.engine.telemetry import PresentState, UnitMetrics, UnitReport
from streams.telemetry.metrics import Metrics
from streams.telemetry.probes import Heartbeat
from streams.worker.probes import livez, readyz, startupz
from tests.support.metrics_page import PARTITION, WORKING


def present(status: WorkerStatus) -> PresentState:
    return PresentState(lambda: status, dict, dict)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (WORKING, None),
        (replace(WORKING, partitions=()), None),
        (replace(WORKING, is_broker_reached=False), None),
        (BEFORE_THE_START, "has not joined the group"),
        (replace(WORKING, is_assigned=False), "rebalance in progress"),
        (replace(WORKING, is_draining=True), "draining"),
        (replace(WORKING, failure="StoreError: full"), "failed: StoreError: full"),
        (replace(WORKING, partitions=(replace(PARTITION, phase=Phase.RESTORING),)), "partition 3 is restoring"),
        (
            replace(WORKING, partitions=(PARTITION, replace(PARTITION, partition=4, phase=Phase.STARTING))),
            "partition 4 is starting",
        ),
    ],
)
def test_readyz_says_why_not(status: WorkerStatus, why: str | None) -> None:
    is_ready, body = readyz(status)
    assert (is_ready, body["ready"], body["why"]) == (why is None, why is None, why)
    assert set(body["partitions"]) == {str(item.partition) for item in status.partitions}


def test_startupz_does_not_wait_for_a_restore() -> None:
    restoring = replace(WORKING, partitions=(replace(PARTITION, phase=Phase.RESTORING),))
    assert startupz(restoring)[0]
    assert not startupz(BEFORE_THE_START)[0]


def test_livez_fails_when_the_watchdog_stands_still() -> None:
    now = 100.0
    heartbeat = Heartbeat(10.0, lambda: now)
    assert livez(heartbeat) == (True, {"alive": True, "watchdog_seconds_ago": None})
    heartbeat.beat()
    now = 110.0
    assert livez(heartbeat) == (True, {"alive": True, "watchdog_seconds_ago": 10.0})
    now = 110.1
    assert livez(heartbeat)[0] is False


def test_metrics_of_partitions_that_are_gone_are_gone() -> None:
    metrics = Metrics("1", 2)
    metrics.worker_built(present(WORKING))
    metrics.timers_counted(3, 12)

    def samples() -> dict[tuple[str, ...], float]:
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(metrics.page().decode())
            for sample in family.samples
        }

    assert samples()["tes_due_timers", "3"] == 12
    assert samples()["tes_input_lag_records", "3", "in"] == 5
    metrics.worker_built(present(replace(WORKING, partitions=())))
    assert not [name for name in samples() if name[0] in ("tes_due_timers", "tes_input_lag_records")]
    metrics.worker_built(present(WORKING))
    assert ("tes_due_timers", "3") not in samples()


def test_the_time_from_event_to_verdict_ends_with_the_commit() -> None:
    metrics = Metrics("1", 2, clock=lambda: 1_000.0)
    notes = UnitMetrics()
    notes.moments += [998_000, 999_500]
    metrics.unit_committed(UnitReport(0, 2, 0, 0.1, 0.2, notes))
    page = metrics.page().decode()
    assert "tes_event_to_verdict_seconds_count 2.0" in page
    assert "tes_event_to_verdict_seconds_sum 2.5" in page
