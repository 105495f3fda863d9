"""A PostgreSQL that neither answers nor goes away: whoever waits for it is told, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from streams.database.database import ALL_TENANTS, is_passing
from streams.database.postgresql import PostgreSqlDatabase
from streams.database.waits import ANSWER_SECONDS
from streams.kafka.timing import Timing
from streams.report.model.batch import SERVERS
from streams.report.store.opening import READ_MODEL
from streams.report.store.tables import SERVER
from streams.report.store.writer import Writer
from tests.support.ports import free_port
from tests.support.postgresql import PostgreSql, running_postgresql
from tests.support.process import SECONDS, Process
from tests.support.report import batch_of, read_of, report_record, rows_of

pytestmark = pytest.mark.database


def ignore(_: str) -> None:
    """No failpoint."""


@pytest.fixture
def server() -> Iterator[PostgreSql]:
    """A server that no other test needs."""
    with running_postgresql() as running:
        yield running


@pytest.fixture
def database(server: PostgreSql) -> Iterator[PostgreSqlDatabase]:
    opened = PostgreSqlDatabase(server.make_database(), "tes_report", READ_MODEL)
    opened.migrate()
    yield opened
    opened.close()


@contextmanager
def hanging(server: PostgreSql) -> Iterator[None]:
    """Stop the server and what it started, and let it go on at the end."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    pids = [server.pid]
    os.kill(server.pid, signal.SIGSTOP)
    try:
        # From here on it starts no others, and those that end keep their numbers.
        pids += map(int, children.read_text("ascii").split())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def hanging_for(database: PostgreSqlDatabase, server: PostgreSql) -> Iterator[None]:
    """The same, where meanwhile a database waits no longer than a test can.

    For what is answered it waits as ever: a slow machine may take its time.
    """
    with hanging(server):
        wait_for(database, 2.0)
        try:
            yield
        finally:
            wait_for(database, ANSWER_SECONDS)


def wait_for(database: PostgreSqlDatabase, seconds: float) -> None:
    """Let the database's connections, those to come too, wait so long for an answer."""
    waits = database._waits
    waits.answer_seconds = seconds
    for connection in waits._connections:
        connection.answer_seconds = seconds


def look(database: PostgreSqlDatabase) -> None:
    with database.reading(ALL_TENANTS) as connection:
        connection.execute(text("SELECT 1"))


def write(database: PostgreSqlDatabase) -> None:
    Writer(database, ignore).write(batch_of([read_of(SERVERS, 0, report_record())]))


@pytest.mark.parametrize("work", [look, write])
def test_a_call_ends_when_nothing_answers_in_time(
    server: PostgreSql, database: PostgreSqlDatabase, work: Callable[[PostgreSqlDatabase], None]
) -> None:
    look(database)
    with hanging_for(database, server), pytest.raises(OperationalError) as failed:
        work(database)
    assert is_passing(failed.value)
    write(database)
    assert len(rows_of(database, SERVER)) == 1


def test_a_write_that_is_under_way_ends_when_nothing_answers_in_time(
    server: PostgreSql, database: PostgreSqlDatabase
) -> None:
    with ExitStack() as stack:

        def hang(step: str) -> None:
            if step == "written":
                stack.enter_context(hanging_for(database, server))

        with pytest.raises(OperationalError, match="no answer in 2 seconds") as failed:
            Writer(database, hang).write(batch_of([read_of(SERVERS, 0, report_record())]))
    assert is_passing(failed.value)
    write(database)
    assert len(rows_of(database, SERVER)) == 1


def test_the_lease_is_lost_when_nothing_answers_in_time(server: PostgreSql, database: PostgreSqlDatabase) -> None:
    lease = database.lease()
    assert lease.take()
    with hanging_for(database, server), pytest.raises(OperationalError):
        lease.take()
    assert lease.take()
    lease.give_back()


def test_closing_ends_a_call_that_is_under_way(server: PostgreSql, database: PostgreSqlDatabase) -> None:
    look(database)
    began = threading.Event()

    def work() -> None:
        with database.reading(ALL_TENANTS) as connection:
            began.set()
            connection.execute(text("SELECT pg_sleep(50)"))

    with ThreadPoolExecutor(1) as threads:
        waiting: Future[Any] = threads.submit(work)
        began.wait()
        with hanging(server):
            database.close()
            with pytest.raises(OperationalError, match="closed"):
                waiting.result(20)
    look(database)


@pytest.mark.timeout(180)
def test_a_process_ends_when_it_is_told_to(server: PostgreSql, tmp_path: Path) -> None:
    variables = {
        "TES_REPORT_DATABASE": server.make_database(),
        "TES_REPORT_PORT": "0",
        "TES_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
    }
    process = Process(tmp_path / "report.log", variables, "report")
    deadline = time.monotonic() + SECONDS
    while "report_part_failed" not in process.log and "kafka: " not in process.log:
        assert time.monotonic() < deadline, process.log
        time.sleep(0.1)
    with hanging(server):
        # It asks for its lease again before each try, the longest wait between two is shorter.
        time.sleep(Timing().last_retry + 2)
        assert process.end() == 0, process.log
