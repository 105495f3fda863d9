"""Records that come without a pause keep neither a rebuild nor the reader from saying what they have read."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from streams.clock import wall_clock_ms
from streams.database.database import ALL_TENANTS, Database
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.timing import Timing
from streams.report.reading.reader import Reader
from streams.report.reading.status import State, not_ready_because
from streams.report.rebuild import Rebuilt, rebuild
from streams.report.store.tables import SERVER
from streams.report.store.upkeep import CURRENT_AT, fact
from streams.settings.worker import Settings
from streams.wire.registry import LocalRegistry
from tests.support.edge_sync import topic_of
from tests.support.report import encoded, report_record, rows_of
from tests.support.waiting import until_true

PAUSE = 0.01
"""Much less than a fetch waits for records, so that no fetch comes back empty."""
SECONDS = 60.0
SOON = Timing(look=0.2, tick=0.1)


def ignore(_: str) -> None:
    """No failpoint."""


@asynccontextmanager
async def traffic(settings: Settings) -> AsyncIterator[None]:
    """Write a report of some server every moment."""

    async def write() -> None:
        producer = cluster_of(settings).producer(acks="all")
        await producer.start()
        try:
            for number in itertools.count():
                record = report_record(f"mx{number % 10}.contoso.com")
                key = f"contoso/{record['server']}".encode()
                await producer.send(topic_of(settings, "server_report"), encoded("server_report", record), key=key)
                await asyncio.sleep(PAUSE)
        finally:
            await producer.stop()

    await create_topics(settings)
    writing = asyncio.create_task(write())
    try:
        yield
        assert not writing.done()
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


def test_a_rebuild_ends(settings: Settings, database: Database) -> None:
    async def run() -> Rebuilt:
        async with traffic(settings), asyncio.timeout(SECONDS):
            return await rebuild(
                cluster_of(settings),
                LocalRegistry(),
                database,
                topic=lambda name: topic_of(settings, name),
                say=ignore,
                failpoint=ignore,
            )

    done = asyncio.run(run())
    assert len(rows_of(database, SERVER)) <= done.records


def test_the_reader_becomes_ready_and_notes_how_current_it_is(settings: Settings, database: Database) -> None:
    looks: list[float] = []
    reader = Reader(
        cluster_of(settings), LocalRegistry(), database, topic=lambda name: topic_of(settings, name), timing=SOON
    )
    take = reader._lease.take

    def counted() -> bool:
        looks.append(time.monotonic())
        return take()

    reader._lease.take = counted  # type: ignore[method-assign]

    def noted() -> int:
        with database.reading(ALL_TENANTS) as connection:
            return int(fact(connection, CURRENT_AT) or 0)

    async def run() -> None:
        async with traffic(settings):
            running = asyncio.create_task(reader.run())
            try:
                await until_true(is_ready)
                first, looked = noted(), len(looks)

                async def goes_on() -> bool:
                    return noted() > first and len(looks) > looked + 1

                await until_true(goes_on)
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running

    async def is_ready() -> bool:
        return reader.status.state is State.FOLLOWING and not_ready_because(reader.status, wall_clock_ms()) is None

    asyncio.run(run())
