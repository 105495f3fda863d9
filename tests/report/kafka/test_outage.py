"""A database that is away, locked or full: the report waits, says so, loses nothing and goes on by itself."""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.kafka.provisioning import create_topics
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings
from tests.support.edge_sync import produce
from tests.support.postgresql import PostgreSql
from tests.support.process import Process
from tests.support.report import encoded, report_record
from tests.support.report_site import expected_model, port_of, report_process, until_model, variables_of


def servers(first: int, count: int = 5) -> dict[bytes, bytes | None]:
    """Reports of some servers; each is long, so that a few need more disk."""
    records = [report_record(f"mx{number}.contoso.com", reason="x" * 5_000) for number in range(first, first + count)]
    return {f"contoso/{record['server']}".encode(): encoded("server_report", record) for record in records}


def interrupted(
    settings: Settings,
    report: ReportSettings,
    folder: Path,
    said: str,
    fail: Callable[[Process], None],
    mend: Callable[[Process], None],
) -> None:
    """Have a process run, its database fail while records come, and be mended."""
    asyncio.run(create_topics(settings))
    asyncio.run(produce(settings, "server_report", servers(0)))
    variables = variables_of(settings, report)
    process = report_process(folder, variables)
    process.until_ready(port_of(variables))
    until_model(report, expected_model(settings))
    fail(process)
    try:
        asyncio.run(produce(settings, "server_report", servers(5, 100)))
        shown = process.until_said(port_of(variables), said)
        assert "database" in shown["failures"]
    finally:
        mend(process)
    until_model(report, expected_model(settings))
    process.until_ready(port_of(variables))
    assert "report_part_failed" not in process.log.split("works again")[-1]
    assert process.end() == 0


@pytest.mark.database
@pytest.mark.timeout(180)
def test_a_postgresql_that_crashes_and_comes_back(settings: Settings, postgresql: PostgreSql, tmp_path: Path) -> None:
    report = ReportSettings(database=postgresql.make_database())
    interrupted(
        settings,
        report,
        tmp_path,
        "database",
        lambda _: postgresql.stop(signal.SIGQUIT),
        lambda _: postgresql.start(),
    )


@pytest.mark.timeout(180)
def test_an_sqlite_file_that_somebody_else_locks(settings: Settings, tmp_path: Path) -> None:
    report = ReportSettings(directory=str(tmp_path / "report"))
    locks: list[sqlite3.Connection] = []

    def lock(_: Process) -> None:
        locks.append(sqlite3.connect(tmp_path / "report" / "report-1.db", isolation_level=None))
        locks[0].execute("BEGIN IMMEDIATE")

    interrupted(settings, report, tmp_path, "locked", lock, lambda _: locks[0].close())


@pytest.mark.timeout(180)
def test_a_disk_that_is_full(settings: Settings, tmp_path: Path) -> None:
    report = ReportSettings(directory=str(tmp_path / "report"))
    unlimited = resource.RLIM_INFINITY

    def limit(process: Process) -> None:
        # No file may grow, as on a full disk.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (200_000, unlimited))

    def lift(process: Process) -> None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))

    interrupted(settings, report, tmp_path, "database", limit, lift)
