"""Reads notifications into the ledger: one process at a time, each failure told once and waited for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from streams.database.database import Database, DatabaseError, reason_of
from streams.database.positions import MovedError
from streams.domain.time import SECOND_MS
from streams.kafka.cluster import Cluster
from streams.kafka.follower import LostPositionError
from streams.kafka.places import Place
from streams.kafka.source import Source
from streams.kafka.timing import Timing
from streams.log_events import log_event
from streams.notify.contacts import Contacts
from streams.notify.decoding import Decoder, SchemaAwaitedError
from streams.notify.faults import is_contents_fault
from streams.notify.recording import Batch, Recorded, Recorder, Unreadable
from streams.notify.status import DATABASE, KAFKA, REGISTRY, State, Status
from streams.notify.telling import Teller
from streams.wire.registry import RegistryError

log = logging.getLogger(__name__)

INTAKE: Final = "notices"
"""The right to read notifications into the ledger."""
_BEHIND_MS: Final = 2 * SECOND_MS
"""A record that was written longer ago, and is not the last, says that more waits to be read."""

Result = TypeVar("Result")


class LeaseLostError(RuntimeError):
    """Another process may read now."""


class Intake:
    """Reads a topic into a ledger, until it is cancelled."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        decoder: Decoder,
        recorder: Recorder,
        database: Database,
        contacts: Contacts,
        status: Status,
        *,
        timing: Timing | None = None,
        clock: Callable[[], int],
        failpoint: Callable[[str], None],
    ) -> None:
        """Read a topic of a cluster.

        Args:
            cluster: where the topic is.
            topic: its whole name.
            decoder: of its records.
            recorder: writes what was read.
            database: where the ledger is.
            contacts: must be known before anything is routed.
            status: what is told of it.
            timing: how long to wait for what.
            clock: returns UTC milliseconds.
            failpoint: called with the name of each step.
        """
        self._cluster, self._topic, self._decoder, self._recorder = cluster, topic, decoder, recorder
        self._database, self._contacts, self.status = database, contacts, status
        self._timing, self._clock, self._failpoint = timing or Timing(), clock, failpoint
        self._told, self._lease = Teller(status), database.lease(INTAKE)
        self._threads = ThreadPoolExecutor(2, "intake")

    async def run(self) -> None:
        """Run until cancelled; no failure of Kafka, the registry or the database ends it."""
        wait = self._timing.first_retry
        try:
            while True:
                known = self.status.current_at
                pause = await self._try()
                wait = self._timing.first_retry if self.status.current_at != known else wait
                await asyncio.sleep(wait if pause is None else pause)
                wait = min(wait * 2, self._timing.last_retry) if pause is None else self._timing.first_retry
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)
            with suppress(Exception):
                self._lease.give_back()

    async def _try(self) -> float | None:
        """Work until something ends it; returns how long to wait then, None for a retry as after a failure."""
        try:
            self.status.has_lease = False
            self.status.has_lease = await self._in_thread(self._lease.take)
            self._told.works(DATABASE)
            if not self.status.has_lease:
                self._told.enter(State.STANDBY)
                return self._timing.standby
            await self._follow()
        except (LostPositionError, DatabaseError) as error:
            self._told.stop(str(error))
            return self._timing.stopped
        except (MovedError, LeaseLostError) as error:
            log.info("reading on from where the ledger is: %s", error, extra=log_event("notify_moved", why=str(error)))
        except Exception as error:  # noqa: BLE001 - whatever failed, it is tried again
            self._told.failed(_part_of(error), error)
        return None

    async def _follow(self) -> None:
        source = Source(self._cluster, [self._topic], self._timing)
        try:
            self._told.enter(State.CATCHING_UP)
            await asyncio.wait_for(self._contacts.is_known.wait(), self._timing.answer)
            await source.start(lambda sources: self._in_thread(lambda: self._recorder.positions(sources)))
            self._told.works(KAFKA)
            self.status.stopped = None
            look_at = time.monotonic() + self._timing.look
            while True:
                records = await source.poll()
                if records:
                    await self._take(source, records)
                self.status.lag = sum(source.lag().values())
                complete_at = source.complete_at
                if complete_at is not None:
                    self.status.current_at = complete_at
                    self._told.enter(State.FOLLOWING)
                if time.monotonic() > look_at:
                    await self._look(source)
                    look_at = time.monotonic() + self._timing.look
        finally:
            await source.throw_away()

    async def _take(self, source: Source, records: Sequence[Any]) -> None:
        self._failpoint("fetched")
        batch = await self._in_thread(lambda: self._decoder.decode(records, source.sources))
        self._told.works(REGISTRY)
        places = list({Place(record.topic, record.partition): None for record in records})
        batch.begins, batch.ends = await source.advance(places)
        for one in batch.unreadable:
            self._told.passed_over(one)
        is_behind = sum(source.lag().values()) > 0 or self._clock() - records[-1].timestamp > _BEHIND_MS
        await self._store(batch, is_behind=is_behind)

    async def _store(self, batch: Batch, *, is_behind: bool) -> None:
        """Write a batch; a database that fails is waited for, and nothing more is fetched meanwhile."""
        wait = self._timing.first_retry
        while True:
            try:
                recorded = await self._in_thread(lambda: self._write_or_salvage(batch, is_behind=is_behind))
                break
            except DBAPIError as error:
                self._told.failed(DATABASE, error)
            await asyncio.sleep(wait)
            wait = min(wait * 2, self._timing.last_retry)
            if not await self._in_thread(self._take_again):
                raise LeaseLostError("another process has the lease")
        self._told.works(DATABASE)
        self.status.notices += recorded.notices
        self.status.untold += recorded.untold
        self.status.expired += recorded.expired
        self.status.withdrawn += recorded.withdrawn

    def _write_or_salvage(self, batch: Batch, *, is_behind: bool) -> Recorded:
        """Write a batch; where the database refuses it for what is in it, write of it what can be written."""
        try:
            return self._recorder.write(batch, is_behind=is_behind)
        except Exception as error:
            if not is_contents_fault(error):
                raise
        total, at = Recorded(), dict(batch.begins)
        for notice in sorted(batch.notices, key=lambda one: (one.place, one.offset)):
            begins, ends = {notice.place: at[notice.place]}, {notice.place: notice.offset + 1}
            alone = Batch(batch.sources, begins, ends, [notice])
            try:
                done = self._recorder.write(alone, is_behind=is_behind)
                total.notices += done.notices
                total.untold += done.untold
                total.expired += done.expired
                total.withdrawn += done.withdrawn
            except Exception as error:
                if not is_contents_fault(error):
                    raise
                refused = Unreadable(notice.place, notice.offset, notice.written_at, reason_of(error))
                self._recorder.write(Batch(batch.sources, begins, ends, unreadable=[refused]), is_behind=is_behind)
                self._told.passed_over(refused)
            at[notice.place] = notice.offset + 1
        self._recorder.write(Batch(batch.sources, at, batch.ends, unreadable=batch.unreadable), is_behind=is_behind)
        return total

    def _take_again(self) -> bool:
        try:
            return self._lease.take()
        except (DBAPIError, OSError):
            return True  # nobody can say; the next write will

    async def _look(self, source: Source) -> None:
        await source.look()
        if not await self._in_thread(self._lease.take):
            raise LeaseLostError("another process has the lease")
        # Marks of transactions move a position without a record.
        batch = Batch(source.sources)
        batch.begins, batch.ends = await source.advance(list(source.positions))
        if batch.begins != batch.ends:
            await self._store(batch, is_behind=False)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _part_of(error: Exception) -> str:
    """What does not work."""
    if isinstance(error, RegistryError | SchemaAwaitedError):
        return REGISTRY
    return DATABASE if isinstance(error, SQLAlchemyError) else KAFKA
