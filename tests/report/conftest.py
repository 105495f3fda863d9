"""The databases of the report's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.database.database import Database
from streams.notices.facts import begin
from streams.notices.opening import open_ledger
from streams.report.store.opening import open_database
from streams.settings.report import ReportSettings
from tests.support.notices import START
from tests.support.postgresql import PostgreSql, running_postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """A server of this session's own."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.database)])
def report_settings(request: pytest.FixtureRequest, tmp_path: Path) -> ReportSettings:
    """Settings of a report with an empty database of its own, of each kind."""
    if request.param == "sqlite":
        return ReportSettings(directory=str(tmp_path / "report"))
    return ReportSettings(database=request.getfixturevalue("postgresql").make_database())


@pytest.fixture
def database(report_settings: ReportSettings) -> Iterator[Database]:
    """A migrated database of each kind."""
    opened = open_database(report_settings)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def ledger(report_settings: ReportSettings, database: Database) -> Iterator[Database]:
    """A migrated ledger of notices beside the database, which began at `START`."""
    opened = open_ledger(report_settings)
    opened.migrate()
    begin(opened, START)
    yield opened
    opened.close()
