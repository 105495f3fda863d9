"""`tes report` on a real Kafka: killed anywhere it makes of the topics what a simple fold does."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from streams.kafka.provisioning import create_topics
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings
from tests.support.edge_sync import produce
from tests.support.report import encoded, report_record
from tests.support.report_site import expected_model, port_of, report_process, until_model, variables_of
from tests.support.worker_results import SIGKILLED

POINTS = ("fetched", "written", "positioned", "committed")


@pytest.mark.timeout(180)
def test_killed_at_every_step_it_loses_nothing_and_doubles_nothing(
    filled: Settings, report_settings: ReportSettings, tmp_path: Path
) -> None:
    expected = expected_model(filled)
    assert all(expected[name] for name in ("server", "server_day", "verdict", "notification", "audit"))
    for point in POINTS:
        variables = variables_of(filled, report_settings, TES_REPORT_CRASH_AT=point)
        process = report_process(tmp_path, variables)
        # A step that comes only where something is left to read may not come again.
        process.until_ended_or_ready(port_of(variables))
        assert process.end() in (SIGKILLED, 0), process.log
    variables = variables_of(filled, report_settings)
    process = report_process(tmp_path, variables)
    process.until_ready(port_of(variables))
    until_model(report_settings, expected)
    assert process.end(signal.SIGTERM) == 0


@pytest.mark.timeout(120)
def test_it_follows_and_passes_over_what_is_no_record(
    settings: Settings, report_settings: ReportSettings, tmp_path: Path
) -> None:
    async def fill(first: int) -> None:
        rows: dict[bytes, bytes | None] = {}
        for number in range(first, first + 5):
            record = report_record(f"mx{number}.contoso.com")
            rows[f"contoso/{record['server']}".encode()] = encoded("server_report", record)
        rows[b"contoso/broken"] = b"\x07"
        rows[f"contoso/mx{first}.contoso.com".encode()] = None
        await produce(settings, "server_report", rows)

    asyncio.run(create_topics(settings))
    asyncio.run(fill(0))
    variables = variables_of(settings, report_settings)
    process = report_process(tmp_path, variables)
    process.until_ready(port_of(variables))
    until_model(report_settings, expected_model(settings))
    asyncio.run(fill(5))
    until_model(report_settings, expected_model(settings))
    said = process.until_ready(port_of(variables))
    assert said["unreadable"]["server_report"] == 2
    assert "first byte is 0x07" in process.log
    assert process.end() == 0
