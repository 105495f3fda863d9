"""A process that does not read the topics serves them nevertheless, and knows how old its tables are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from streams.database.database import Database
from streams.kafka.cluster import Cluster
from streams.kafka.security import cluster_of
from streams.kafka.timing import Timing
from streams.report.reading.reader import Reader
from streams.report.reading.status import KAFKA, State, Status, not_ready_because, not_serving_because
from streams.report.store.opening import open_database
from streams.report.store.upkeep import note_current
from streams.report.watching import DatabaseWatch
from streams.settings.report import ReportSettings
from streams.wire.registry import LocalRegistry
from tests.support.postgresql import PostgreSql
from tests.support.waiting import until_true

NOW = 1_800_000_000_000
IMPATIENT = Timing(first_retry=0.05, last_retry=0.1, standby=0.05)


def nowhere() -> Cluster:
    return cluster_of(ReportSettings(bootstrap="127.0.0.1:1"))


def test_the_age_of_the_tables_is_known_without_reading_the_topics(database: Database) -> None:
    status = Status(State.STANDBY)
    watch = DatabaseWatch(database, lambda: status, lambda: NOW)
    asyncio.run(watch.ask())
    assert (status.current_at, status.answered_at) == (None, NOW)
    note_current(database, NOW - 5_000)
    asyncio.run(watch.ask())
    assert status.current_at == NOW - 5_000
    assert not_serving_because(status, NOW) is None
    assert status.database_bytes > 0


def test_what_fails_is_told_until_it_works_again(database: Database) -> None:
    status = Status(State.STANDBY)
    watch = DatabaseWatch(database, lambda: status, lambda: NOW)
    rename = "ALTER TABLE {} RENAME TO {}"
    with database.writing() as connection:
        connection.execute(text(rename.format("fact", "hidden")))
    asyncio.run(watch.ask())
    assert "fact" in str(not_serving_because(status, NOW))
    with database.writing() as connection:
        connection.execute(text(rename.format("hidden", "fact")))
    asyncio.run(watch.ask())
    assert not_serving_because(status, NOW) is None


def test_a_reader_that_lost_the_lease_to_another_complains_of_kafka_no_more(tmp_path: Path) -> None:
    database = open_database(ReportSettings(directory=str(tmp_path)))
    reader = Reader(nowhere(), LocalRegistry(), database, timing=IMPATIENT)

    async def scenario() -> None:
        reading = asyncio.create_task(reader.run())
        await until_true(lambda: _is(KAFKA in reader.status.failures))
        assert reader.status.has_lease
        await until_true(lambda: _is(taken()))
        await until_true(lambda: _is(reader.status.state is State.STANDBY))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    other = database.lease()

    def taken() -> bool:
        # As when a server ends its session; it takes the lease again at each of its tries.
        reader._lease.give_back()
        return other.take()

    asyncio.run(scenario())
    assert not reader.status.has_lease
    assert reader.status.failures == {}
    assert not_ready_because(reader.status, NOW) is None
    database.close()


async def _is(value: bool) -> bool:
    return value


@pytest.mark.database
def test_the_address_may_be_in_a_file(postgresql: PostgreSql, tmp_path: Path) -> None:
    address = postgresql.make_database()
    file = tmp_path / "database"
    file.write_text(address + "\n")
    settings = ReportSettings(database_file=str(file))
    opened = open_database(settings)
    opened.migrate()
    assert opened.kind == "postgresql"
    assert address not in str(settings.shown())
    opened.close()
