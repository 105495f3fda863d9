"""`tes report rebuild`: reads the topics into a fresh set of tables beside the one in force, then puts it in its place.

The process that keeps the tables goes on meanwhile with the old ones, and finds the new ones at its next transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from streams.clock import wall_clock_ms
from streams.database.database import REBUILDING, Database, DatabaseError
from streams.kafka.cluster import Cluster
from streams.kafka.places import Place
from streams.kafka.source import Source
from streams.kafka.timing import Timing
from streams.operations.progress import Progress
from streams.report.model.batch import READ
from streams.report.reading.decoding import Decoder
from streams.report.reading.deletions import may_have_missed
from streams.report.store.carrying import carry_history, forget_unread, write_held
from streams.report.store.salvage import Salvaged, write_or_salvage
from streams.report.store.upkeep import analyze, note_current
from streams.report.store.writer import Writer
from streams.wire.registry import SchemaRegistry

_SAY_SECONDS: Final = 5.0


class Rebuilt(NamedTuple):
    """What a rebuild has done: records read, those passed over, servers carried and, of these, forgotten."""

    records: int
    unreadable: int
    carried: int
    forgotten: int


async def rebuild(
    cluster: Cluster,
    registry: SchemaRegistry,
    database: Database,
    *,
    topic: Callable[[str], str],
    say: Callable[[str], None],
    failpoint: Callable[[str], None],
    timing: Timing | None = None,
    progress: Progress | None = None,
) -> Rebuilt:
    """Make the tables anew; what fails leaves those in force as they are.

    Args:
        cluster: where the topics are.
        registry: of their schemas.
        database: the tables in force.
        topic: gives a topic's whole name by the name of its schema.
        say: takes lines about the progress.
        progress: takes how many records are read, in place of lines about it.
        failpoint: called with the name of each step.
        timing: how long to wait for what.

    Raises:
        DatabaseError: another rebuild is under way.
        KafkaError, TopicError, NoAnswerError: the topics cannot be read.
        DBAPIError: the database does not answer.
    """
    await asyncio.to_thread(database.migrate)
    lease = database.lease(REBUILDING)
    if not await asyncio.to_thread(lease.take):
        raise DatabaseError("another rebuild is under way")
    try:
        begun_at, fresh = wall_clock_ms(), await asyncio.to_thread(database.fresh)
        say("carrying the history over")
        carried = await asyncio.to_thread(carry_history, database, fresh)
        failpoint("carried")
        timing = timing or Timing()
        source = Source(cluster, [topic(name) for name in READ], timing)
        writer, decoder = Writer(fresh, failpoint, carried), Decoder(registry, topic, patience=timing.schema)
        records, unreadable, complete_at = await _read_all(source, decoder, writer, say, timing.last_retry, progress)
        unreadable += len(await asyncio.to_thread(write_held, fresh, carried))
        forgotten = await asyncio.to_thread(forget_unread, fresh, complete_at)
        # What took so long may have missed deletions; then the reader looks for them.
        known_at = begun_at if may_have_missed(begun_at, complete_at) else complete_at
        await asyncio.to_thread(note_current, fresh, known_at)
        await asyncio.to_thread(analyze, fresh)
        failpoint("filled")
        await asyncio.to_thread(database.replace, fresh)
        failpoint("replaced")
    finally:
        lease.give_back()
    return Rebuilt(records, unreadable, carried.servers, forgotten)


async def _read_all(
    source: Source,
    decoder: Decoder,
    writer: Writer,
    say: Callable[[str], None],
    pause: float,
    progress: Progress | None,
) -> tuple[int, int, int]:
    """Read the topics to their ends; returns the records, those passed over, and when the ends were asked for."""
    records = unreadable = 0
    writing: asyncio.Future[Salvaged] | None = None
    if progress is not None:
        progress.begin("records")
    say_at = time.monotonic() + _SAY_SECONDS

    async def from_the_beginning(_: object) -> dict[Place, int]:
        return {}

    try:
        await source.start(from_the_beginning)
        async for found in source.whole():
            if found:
                while (batch := await asyncio.to_thread(decoder.decode, found, source.sources)).waits:
                    say("; ".join(f"{one.reason}: waiting for it" for one in batch.waits.values()))
                    await asyncio.sleep(pause)
                places = list({Place(record.topic, record.partition): None for record in found})
                batch.begins, batch.ends = await source.advance(places)
                unreadable += len(batch.unreadable)
                if writing is not None:
                    records, unreadable = _added(await writing, records, unreadable)
                # The next ones are fetched and decoded meanwhile.
                writing = asyncio.ensure_future(asyncio.to_thread(write_or_salvage, writer, batch))
            if progress is not None:
                progress.reach(records, records + sum(source.lag().values()))
            elif time.monotonic() > say_at:
                say(f"{records:,} records read, {sum(source.lag().values()):,} to read")
                say_at = time.monotonic() + _SAY_SECONDS
        if writing is not None:
            records, unreadable = _added(await writing, records, unreadable)
            writing = None
        await source.look()
        return records, unreadable, source.asked_at
    finally:
        if writing is not None:
            await asyncio.gather(writing, return_exceptions=True)
        await source.throw_away()


def _added(done: Salvaged, records: int, unreadable: int) -> tuple[int, int]:
    return records + done.written, unreadable + len(done.passed_over)
