"""The page as somebody sees it, on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from streams.database.database import Database
from streams.report.access.callers import Caller
from streams.report.store.opening import open_database
from streams.settings.report import ReportSettings
from tests.support.notice_history import made_ledger
from tests.support.page_client import ADDRESS, Client, SignIn
from tests.support.page_world import Engine, application_for, fill


@pytest.fixture(scope="session")
def application_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignIn]:
    """The application as a caller sees it, over the rows of two tenants, for tests that only read."""
    settings = ReportSettings(directory=str(tmp_path_factory.mktemp("page")))
    opened, ledger = open_database(settings), made_ledger(settings)
    opened.migrate()
    fill(opened)
    engine = Engine(opened, ledger=ledger)

    @lru_cache
    def made(caller: Caller) -> Litestar:
        return application_for(engine, caller)

    yield lambda caller: TestClient(made(caller), base_url=ADDRESS)
    opened.close()
    ledger.close()


@pytest.fixture
def sign_in(application_of: SignIn) -> Iterator[SignIn]:
    """A client of somebody who has signed in."""
    with ExitStack() as stack:

        def signed_in(caller: Caller) -> Client:
            return stack.enter_context(application_of(caller))

        yield signed_in


@pytest.fixture
def empty_database(tmp_path: Path) -> Iterator[Database]:
    """A database without rows."""
    opened = open_database(ReportSettings(directory=str(tmp_path / "report")))
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def own_engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with a database of its own, since it writes."""
    settings = ReportSettings(directory=str(tmp_path / "report"))
    opened, ledger = open_database(settings), made_ledger(settings)
    opened.migrate()
    fill(opened)
    yield Engine(opened, ledger=ledger)
    opened.close()
    ledger.close()
