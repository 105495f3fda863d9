"""The loop of a partition's writer: units of work, each computed while the one before it commits.

It does steps 4 to 7 of those that `task` describes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from itertools import islice

from streams.clock import wall_clock_ms
from streams.engine.config import PartitionConfig
from streams.engine.partition.queues import PartitionInputs
from streams.engine.partition.restore import POSITION, filled
from streams.engine.partition.transactions import Transactions
from streams.engine.partition.unit import UnitOfWork
from streams.engine.ports import Record, StateStore
from streams.engine.processor import Processor
from streams.engine.telemetry import SILENT, Telemetry, UnitReport
from streams.errors import DependencyError
from streams.kafka.shutdown import cancel_and_wait
from streams.kafka.unread import UnreadBatch

SLICE_RECORDS = 500
"""Records processed before commits and other partitions get their turn.

A slice takes some milliseconds, so the event loop still answers heartbeats and probes. No measurement is recorded.
"""
SLICE_TIMERS = 1_000
"""Timers that fire before commits and other partitions get their turn; a slice like `SLICE_RECORDS`."""
WAITED_TIMERS = 200
"""The same while records wait, so that timers or deferred changes of one tenant do not delay other tenants."""


class Step(Enum):
    """What was worked on."""

    TIMERS = "timers"
    RECORDS = "records"
    NOTHING = "nothing"


class ProcessingLoop:
    """Fills one unit after the other while the one before it commits."""

    def __init__(
        self,
        config: PartitionConfig,
        partition: int,
        inputs: PartitionInputs,
        transactions: Transactions,
        store: StateStore,
        processor: Processor,
        failpoint: Callable[[str], None],
        telemetry: Telemetry = SILENT,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """Process a restored partition; nothing runs before `run`.

        Args:
            config: topics, limits of a unit and times in seconds.
            partition: its number in the source topic.
            inputs: the queue of the source and the merged input.
            transactions: the partition's producer, started and fenced.
            store: the partition's restored state.
            processor: decides about records and timers.
            failpoint: called with the name of each step, for tests that kill the worker there.
            telemetry: notified of committed units and dead letters; traces records.
            now_ms: returns UTC milliseconds.
        """
        self._config, self._partition, self._inputs, self._now_ms = config, partition, inputs, now_ms
        self._transactions, self._store = transactions, store
        self._processor, self._failpoint = processor, failpoint
        self._telemetry = telemetry
        self.done: dict[str, int] = {}
        self._uncommitted: Mapping[bytes, bytes | None] = {}
        self._commit: asyncio.Task[None] | None = None
        self._unit: UnitOfWork | None = None
        self._next_tick = 0.0
        self._was_caught_up = False
        self._is_closing = False
        self._position = int(store.get(POSITION) or 0)
        self.ticked_to: int | None = None
        self.commits = 0

    @property
    def is_busy(self) -> bool:
        """Whether there is work that is not committed."""
        return self._commit is not None or (self._unit is not None and self._unit.has_work)

    def close(self) -> None:
        """Commit what is in work, and end."""
        self._is_closing = True
        self._inputs.queue.notify()

    async def run(self) -> None:
        """Work until it is closed."""
        try:
            while not self._is_closing:
                unit = await self._fill()  # steps 4 and 7, while the unit before commits
                await self._settle()
                if unit.has_work:
                    self._begin_commit(unit)
                elif unit.ticked_to is not None:
                    self.ticked_to = unit.ticked_to
            await self._settle()
        finally:
            if self._commit is not None:
                await cancel_and_wait(self._commit)

    async def _fill(self) -> UnitOfWork:
        queue, merged = self._inputs.queue, self._inputs.merged
        self._unit = unit = UnitOfWork(self._config, self._partition, self._store, self._uncommitted)
        self._processor.begin(unit.view)
        has_ticked, is_records_turn, began = False, False, 0.0
        now = asyncio.get_running_loop().time
        while not (unit.is_full or self._is_closing):
            merged.check()
            if self._commit is not None and self._commit.done():
                await self._settle()
            step = self._take_step(unit, is_records_turn)
            if step is Step.TIMERS:
                has_ticked = is_records_turn = True
            elif step is Step.RECORDS:
                is_records_turn = False
            elif not (unit.has_work or has_ticked) or self._commit is not None:
                # There is nothing to commit, or it cannot begin before the running commit ends.
                await queue.wait(self._next_tick - now())
            elif self._inputs.is_caught_up():
                break
            else:
                # The source has more, which is on its way: a bigger unit writes a changed key less often.
                began = began or now()
                if (seconds := began + min(self._config.gather_seconds, unit.age_seconds) - now()) <= 0:
                    break
                await queue.wait(seconds)
            await asyncio.sleep(0)
        with unit.deciding:
            self._processor.finish(unit.view)
        return unit

    def _take_step(self, unit: UnitOfWork, is_records_turn: bool) -> Step:
        """Do one slice of the work that there is: due timers, unless it is the turn of records that wait; records."""
        queue, merged = self._inputs.queue, self._inputs.merged
        # The next merged record has to be known, since it may be older than those of the source.
        has_source = merged.is_known and not queue.is_empty
        # And the source has to be at its end, since it may hold older ones; else `_take_source` merges.
        has_merged = bool(merged.waiting) and self._inputs.is_source_at_end
        has_records = has_source or has_merged
        is_timers_turn = not (is_records_turn and has_records)
        if is_timers_turn and self._tick(unit, WAITED_TIMERS if has_records else SLICE_TIMERS):
            return Step.TIMERS
        if has_source:
            self._take_source(unit)
        elif has_merged:
            self._take_merged(unit)
        return Step.RECORDS if has_records else Step.NOTHING

    def _take_source(self, unit: UnitOfWork) -> None:
        queue, merged = self._inputs.queue, self._inputs.merged
        before = self._timestamp_of(merged.waiting[0]) if merged.waiting else None
        records = queue.first(SLICE_RECORDS)
        if not unit.records:
            unit.age_seconds = max(0.0, (self._now_ms() - records[0].timestamp) / 1000)
        with unit.deciding:
            count = self._on_records(unit, records, before)
        if count:
            unit.done[self._config.source] = records[count - 1].offset
            unit.records += count
            queue.drop(count)
        if count < len(records) and not unit.view.is_full:
            if before is None:
                raise RuntimeError(
                    f"the processor stopped early at offset {records[count].offset} although the view is not full"
                )
            self._take_merged(unit, 1)

    def _take_merged(self, unit: UnitOfWork, most: int = SLICE_RECORDS) -> None:
        merged = self._inputs.merged
        records = list(islice(merged.waiting, most))
        # An unread batch stands alone, as it does in the queue of the source.
        end = next((index for index, record in enumerate(records) if isinstance(record, UnreadBatch)), len(records))
        records = records[: max(1, end)]
        with unit.deciding:
            count = self._on_records(unit, records, None)
        for record in records[:count]:
            merged.pop()
            unit.done[self._config.merged] = record.offset
        unit.records += count
        if count < len(records) and not unit.view.is_full:
            raise RuntimeError(
                f"the processor stopped early at merged offset {records[count].offset} although the view is not full"
            )

    def _timestamp_of(self, record: Record) -> int:
        return 0 if isinstance(record, UnreadBatch) else self._processor.timestamp_of(record)

    def _on_records(self, unit: UnitOfWork, records: Sequence[Record], before: int | None) -> int:
        if isinstance(unread := records[0], UnreadBatch):
            unit.view.reject(unread, unread.error)
            return 1
        return self._processor.on_records(unit.view, records, before)

    def _tick(self, unit: UnitOfWork, most: int) -> bool:
        """Step 7: fire due timers when it is time to look, or nothing is left to read for the first time."""
        now = asyncio.get_running_loop().time()
        is_caught_up = self._inputs.are_at_end
        if now < self._next_tick and self._was_caught_up >= is_caught_up:
            return False
        self._was_caught_up = is_caught_up
        self._next_tick = now + self._config.tick_seconds
        moment = self._processor.tick_moment(is_caught_up)
        if moment is None:
            return False
        with unit.deciding:
            has_more = self._processor.on_tick(unit.view, moment, most)
        if has_more:
            self._next_tick, self._was_caught_up = now, False
        elif is_caught_up:
            unit.ticked_to = moment
        return True

    def _begin_commit(self, unit: UnitOfWork) -> None:
        self._failpoint("decided")
        rows = unit.rows()
        self._uncommitted = rows  # what the next unit sees of this one until step 6 is done
        self._commit = asyncio.create_task(self._write(unit, rows))
        self._commit.add_done_callback(lambda _: self._inputs.queue.notify())

    async def _write(self, unit: UnitOfWork, rows: dict[bytes, bytes | None]) -> None:
        began = time.perf_counter()
        # Step 5: commit.
        position = await self._transactions.commit(unit.view.outputs, rows, unit.done)
        if position is not None:
            if position <= self._position:
                name = f"{self._config.changelog}-{self._partition}"
                raise DependencyError(
                    f"{name}: position went back from {self._position} to {position}: topic deleted while in use"
                )
            self._position = position
        # Step 6: store.
        self._store.write({**rows, **filled(position)})
        if unit.ticked_to is not None:
            self.ticked_to = unit.ticked_to
        self.done |= unit.done
        self._failpoint("stored")
        seconds, deciding = time.perf_counter() - began, unit.deciding
        self._telemetry.unit_committed(
            UnitReport(self._partition, unit.records, deciding.began_ns, deciding.seconds, seconds, unit.view.notes)
        )

    async def _settle(self) -> None:
        """Wait for the running commit; what failed it ends the writer."""
        if self._commit is None:
            return
        await self._commit
        if self._uncommitted:
            self.commits += 1
        self._commit, self._uncommitted = None, {}
        if self._unit is not None:
            self._unit.view.uncommitted = self._uncommitted  # the store has it all now
