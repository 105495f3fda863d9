"""Keeps the tables as the topics have them: one process at a time, each failure told once and waited for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from streams.clock import wall_clock_ms
from streams.database.database import Database, DatabaseError
from streams.database.positions import MovedError
from streams.domain.time import DAY_MS
from streams.failpoints import failpoints
from streams.kafka.cluster import Cluster
from streams.kafka.follower import LostPositionError
from streams.kafka.places import Place
from streams.kafka.source import Source
from streams.kafka.timing import Timing
from streams.log_events import log_event
from streams.report.model.batch import READ, SERVERS, VERDICTS, Batch
from streams.report.reading.decoding import Decoder
from streams.report.reading.deletions import Deletions
from streams.report.reading.status import DATABASE, KAFKA, REGISTRY, State, Status
from streams.report.reading.telling import Teller
from streams.report.store.pending import PendingBatch
from streams.report.store.salvage import write_or_salvage
from streams.report.store.upkeep import analyze, note_current, prune
from streams.report.store.writer import TopicReplacedError, Writer
from streams.wire.registry import RegistryError, SchemaRegistry

log = logging.getLogger(__name__)

_REBUILD: Final = "tes report rebuild"

Result = TypeVar("Result")


class LeaseLostError(RuntimeError):
    """Another process may write now."""


class SchemaAwaitedError(RuntimeError):
    """The schema registry does not know the schema of a record yet."""


class Reader:
    """Reads the topics into a database, until it is cancelled."""

    def __init__(
        self,
        cluster: Cluster,
        registry: SchemaRegistry,
        database: Database,
        *,
        topic: Callable[[str], str] = str,
        history_days: int = 400,
        timing: Timing | None = None,
        clock: Callable[[], int] = wall_clock_ms,
        failpoint: Callable[[str], None] | None = None,
    ) -> None:
        """Keep a database current.

        Args:
            cluster: where the topics are.
            registry: of their schemas.
            database: where the tables are.
            topic: gives a topic's whole name by the name of its schema.
            history_days: how long history is kept.
            timing: how long to wait for what.
            clock: returns UTC milliseconds.
            failpoint: called with the name of each step, for tests that kill the process there.
        """
        self._cluster, self._database, self._timing = cluster, database, timing or Timing()
        self._names = {topic(name): name for name in READ}
        self._decoder = Decoder(registry, topic, patience=self._timing.schema)
        self._awaited: dict[Place, int] = {}
        self._failpoint = failpoint or failpoints("")
        self._writer = Writer(database, self._failpoint)
        self._history_days, self._clock = history_days, clock
        # One that writes, one that decodes and folds meanwhile.
        self._threads = ThreadPoolExecutor(2, "report")
        compacted = {topic(name): name for name in (SERVERS, VERDICTS)}
        self._deletions = Deletions(cluster, database, compacted, self._timing, self._threads)
        self._lease = database.lease()
        self._is_migrated = False
        self._pruned_at = float("-inf")
        self.status = Status()
        self._told = Teller(self.status, self._names)

    async def run(self) -> None:
        """Run until cancelled; no failure of Kafka, the registry or the database ends it."""
        wait = self._timing.first_retry
        try:
            while True:
                written = self.status.written_at
                pause = await self._try()
                if self.status.written_at != written:
                    wait = self._timing.first_retry
                await asyncio.sleep(wait if pause is None else pause)
                wait = min(wait * 2, self._timing.last_retry) if pause is None else self._timing.first_retry
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)
            with suppress(Exception):
                self._lease.give_back()

    async def _try(self) -> float | None:
        """Work until something ends it; returns how long to wait then, None for a retry as after a failure."""
        try:
            if not await self._prepare():
                self._told.enter(State.STANDBY)
                return self._timing.standby
            await self._follow()
        except (TopicReplacedError, LostPositionError, DatabaseError) as error:
            why = str(error) if _REBUILD in str(error) else f"{error}: {_REBUILD}"
            self._told.stop(str(error) if isinstance(error, DatabaseError) else why)
            return self._timing.stopped
        except (MovedError, LeaseLostError) as error:
            log.info(
                "reading again from where the tables are: %s", error, extra=log_event("report_moved", why=str(error))
            )
        except Exception as error:  # noqa: BLE001 - whatever failed, it is tried again
            self._told.failed(_part_of(error), error)
        return None

    async def _prepare(self) -> bool:
        """Have the tables, and the lease; whether this process may write."""
        if not self._is_migrated:
            await self._in_thread(self._database.migrate)
            self._is_migrated = True
        is_mine = False
        try:
            is_mine = await self._in_thread(self._lease.take)
        finally:
            self.status.has_lease = is_mine
        self._told.works(DATABASE)
        return is_mine

    async def _follow(self) -> None:
        source = Source(self._cluster, list(self._names), self._timing)
        writing: asyncio.Task[None] | None = None
        try:
            await source.start(lambda sources: self._in_thread(lambda: self._writer.positions(sources)))
            self._told.works(KAFKA)
            await self._deletions.begin(self._clock)
            self.status.stopped = None
            self._told.enter(State.CATCHING_UP)
            look_at = tick_at = time.monotonic()
            behind: PendingBatch | None = None
            while True:
                records = await source.poll()
                pending = PendingBatch(await self._batch(source, records)) if records else None
                complete_at = source.complete_at
                if writing is not None:
                    if pending is not None and behind is not None:
                        await self._fold_ahead(pending, behind, writing)
                    await writing
                    writing = None
                if pending is not None:
                    behind, writing = pending, asyncio.create_task(self._write(pending))
                    if pending.batch.waits:
                        await writing
                now = time.monotonic()
                if now <= min(tick_at, look_at):
                    continue
                # Records may come without a pause, so time says when to look; what was read is written first.
                if writing is not None:
                    await writing
                    writing = None
                if now > tick_at:
                    await self._tick(source, complete_at)
                    tick_at = now + self._timing.tick
                if now > look_at:
                    await self._look(source)
                    look_at = now + self._timing.look
        finally:
            if writing is not None:
                await self._finish(writing)
            await self._deletions.end()
            self.status.mends = None
            await source.throw_away()

    async def _batch(self, source: Source, records: Sequence[Any]) -> Batch:
        self._failpoint("fetched")
        batch = await self._in_thread(lambda: self._decoder.decode(records, source.sources))
        places = list({Place(record.topic, record.partition): None for record in records})
        batch.begins, batch.ends = await source.advance(places)
        for place, waiting in batch.waits.items():
            source.positions[place] = batch.ends[place] = waiting.offset
        for unreadable in batch.unreadable:
            self._told.passed_over(unreadable.place, unreadable.offset, unreadable.reason)
        self.status.lag = {self._names[topic]: count for topic, count in source.lag().items()}
        return batch

    async def _fold_ahead(self, pending: PendingBatch, behind: PendingBatch, writing: asyncio.Task[None]) -> None:
        """Fold a batch while the one in front of it is being written."""
        folded = asyncio.wrap_future(behind.is_folded)
        await asyncio.wait((folded, writing), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            # What fails here fails again where the batch is written, and is told there.
            with suppress(Exception):
                await self._in_thread(lambda: self._writer.fold_ahead(pending, behind))

    async def _write(self, pending: PendingBatch) -> None:
        """Write a batch.

        Raises:
            SchemaAwaitedError: a record behind it waits; all partitions go on with the next try.
        """
        batch = pending.batch
        if batch.begins != batch.ends:
            await self._store(pending)
        self._awaited |= {place: waiting.offset for place, waiting in batch.waits.items()}
        self._awaited = {place: at for place, at in self._awaited.items() if batch.ends.get(place, at) <= at}
        for place, waiting in batch.waits.items():
            where = f"{place.topic}-{place.partition}@{waiting.offset}"
            raise SchemaAwaitedError(f"{waiting.reason}: {where} waits for it")
        if not self._awaited:
            self._told.works(REGISTRY)

    async def _store(self, pending: PendingBatch) -> None:
        """Write a batch; a database that fails is waited for, and nothing more is fetched meanwhile."""
        batch, wait = pending.batch, self._timing.first_retry
        while True:
            try:
                await self._in_thread(lambda: self._write_or_salvage(pending))
                break
            except DBAPIError as error:
                self._told.failed(DATABASE, error)
            await asyncio.sleep(wait)
            wait = min(wait * 2, self._timing.last_retry)
            if not await self._in_thread(self._take_again):
                raise LeaseLostError("another reader has the lease")
        self._told.works(DATABASE)
        self.status.written_at = self._clock()
        for reads in (batch.servers, batch.verdicts, batch.notifications, batch.audits):
            for read in reads[:1]:
                self.status.records[self._names[read.place.topic]] += len(reads)

    def _write_or_salvage(self, pending: PendingBatch) -> None:
        for refused in write_or_salvage(self._writer, pending.batch, pending).passed_over:
            self._told.passed_over(refused.place, refused.offset, refused.reason)

    def _take_again(self) -> bool:
        try:
            return self._lease.take()
        except (DBAPIError, OSError):
            return True  # nobody can say; the next write will

    async def _finish(self, writing: asyncio.Task[None]) -> None:
        """Wait for a write that is under way, so that what follows does not begin in front of it."""
        if not writing.done():
            await asyncio.wait({writing}, timeout=0 if self.status.failures else self._timing.end)
        writing.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await writing

    async def _tick(self, source: Source, complete_at: int | None) -> None:
        """Note how current the tables are, when everything that was read is written."""
        self.status.lag = {self._names[topic]: count for topic, count in source.lag().items()}
        if complete_at is None:
            return
        is_mended = await self._deletions.are_mended(source, complete_at)
        self.status.mends = self._deletions.why
        if not is_mended:
            self._told.enter(State.CATCHING_UP)
            return
        if self.status.state is not State.FOLLOWING:
            self._told.enter(State.FOLLOWING)
            log.info("the tables show all that the topics hold", extra=log_event("report_current"))
        await self._in_thread(lambda: note_current(self._database, complete_at))
        self._told.works(DATABASE)
        self.status.current_at = complete_at
        now = time.monotonic()
        if now - self._pruned_at > self._timing.prune:
            self._pruned_at = now
            day = self._clock() // DAY_MS - self._history_days
            await self._in_thread(lambda: prune(self._database, day))
            await self._in_thread(lambda: analyze(self._database))

    async def _look(self, source: Source) -> None:
        await source.look()
        if not await self._in_thread(self._lease.take):
            raise LeaseLostError("another reader has the lease")
        # Marks of transactions move a position without a record; a topic may delete everything in front of them.
        batch = Batch(source.sources)
        batch.begins, batch.ends = await source.advance(list(source.positions))
        if batch.begins != batch.ends:
            await self._write(PendingBatch(batch))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _part_of(error: Exception) -> str:
    """What does not work."""
    if isinstance(error, RegistryError | SchemaAwaitedError):
        return REGISTRY
    return DATABASE if isinstance(error, SQLAlchemyError) else KAFKA
