"""The one port between a worker and those that show what it does, and the web server of any process."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession

from streams.engine.telemetry import SILENT, Telemetry, UnitMetrics, UnitReport
from streams.settings.worker import Settings
from streams.telemetry.probes import Page, Probe, ProbeServer
from streams.testing import FakeRecord, RecordingTelemetry
from streams.worker.telemetry import WorkerTelemetry
from tests.support.ports import free_port

HOOKS = {name for name in vars(Telemetry) if not name.startswith("_")}
REPORT = UnitReport(3, 2, 0, 0.1, 0.2, UnitMetrics())


@pytest.mark.parametrize("listener", [WorkerTelemetry, RecordingTelemetry])
def test_no_hook_is_forgotten_by_who_listens_to_all(listener: type[Telemetry]) -> None:
    assert set(vars(listener)) >= HOOKS


def test_nobody_has_to_listen() -> None:
    record = FakeRecord("in", 0, 0, None, None)
    SILENT.watchdog_looked()
    SILENT.unit_committed(REPORT)
    SILENT.timers_counted(3, 1)
    SILENT.event_logged("worker_started")
    assert SILENT.begin_trace(record) is None


def test_a_worker_shows_what_it_is_told_and_follows_nothing_where_traces_are_off() -> None:
    telemetry = WorkerTelemetry(Settings())
    telemetry.unit_committed(REPORT)
    telemetry.event_logged("worker_started")
    page = telemetry.metrics_page().decode()
    assert 'tes_records_total{partition="3"} 2.0' in page
    assert 'tes_log_events_total{event="worker_started"} 1.0' in page
    assert telemetry.begin_trace(FakeRecord("in", 0, 0, None, None, (("traceparent", b"00-1-2-01"),))) is None


def test_any_process_answers_its_own_probes_and_its_metrics() -> None:
    probes: dict[str, Probe] = {
        "/livez": lambda: (True, {"alive": True}),
        "/readyz": lambda: (False, {"why": "draining"}),
    }
    server = ProbeServer(probes, Page(lambda: b"a 1\n", "text/plain"))

    async def answers(port: int) -> list[tuple[int, str]]:
        await server.start("127.0.0.1", port)
        try:
            async with ClientSession(f"http://127.0.0.1:{port}") as session:
                found = []
                for path in ("/livez", "/readyz", "/metrics", "/startupz"):
                    async with session.get(path) as answer:
                        found.append((answer.status, await answer.text()))
                return found
        finally:
            await server.stop()

    assert asyncio.run(answers(free_port())) == [
        (200, '{"alive": true}'),
        (503, '{"why": "draining"}'),
        (200, "a 1\n"),
        (404, "404: Not Found"),
    ]
