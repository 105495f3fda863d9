"""The ledgers of the tests of notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.database.database import Database
from streams.notices.facts import begin
from streams.notices.opening import open_ledger
from streams.settings.database import DatabaseSettings
from tests.support.notices import START, add_destination, subscribe
from tests.support.notify_site import Site
from tests.support.postgresql import PostgreSql, running_postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """A server of this session's own."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.database)])
def ledger_settings(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseSettings:
    """Settings of an empty database of its own, of each kind."""
    if request.param == "sqlite":
        return DatabaseSettings(directory=str(tmp_path / "report"))
    return DatabaseSettings(database=request.getfixturevalue("postgresql").make_database())


@pytest.fixture
def database(ledger_settings: DatabaseSettings) -> Iterator[Database]:
    """A migrated ledger of each kind, which began at `START`."""
    opened = open_ledger(ledger_settings)
    opened.migrate()
    begin(opened, START)
    yield opened
    opened.close()


@pytest.fixture
def site(database: Database) -> Site:
    """A site whose tenant contoso is subscribed to everything at once."""
    subscribe(database, add_destination(database))
    made = Site(database)
    made.deliver()
    made.channel.sent.clear()
    return made
