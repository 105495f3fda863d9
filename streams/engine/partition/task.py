"""The single writer of one source partition: fence, restore, then one transaction after the other.

1. Fence: starting the partition's transactional producer ends the epoch of the previous owner and settles its open
   transaction.
2. Restore the store from the changelog (`restore`), refuse a state of another format, and name the changelog if it is
   new.
3. Resume behind the marker, the last source offset in the state. The group's committed offset is written in the same
   transaction for lag monitoring; if the two differ, the marker is right.
4. Process: a unit of work takes what waits, slice by slice, while the unit before it commits: a few records when
   little comes, up to `unit_records` or `UNIT_BYTES` under load. A record that cannot be processed becomes a dead
   letter. The merged input is merged by time: its record goes before one of the source that is not older.
5. Commit: outputs, changed state, marker and consumer offsets in one transaction (`transactions`).
6. Store: the same changes in one local write batch, after the commit, so that the store never knows more than Kafka.
   Until then the next unit sees them through its view. If the commit fails nothing of them is kept: the worker stops.
7. Tick: due timers run when no record waits, as part of a unit like any other.

Steps 1 to 3 are here, steps 4 to 7 in `loop`. Any error but that of a single record ends the worker; nothing is
skipped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import TopicPartition

from streams.engine.config import PartitionConfig
from streams.engine.partition.loop import ProcessingLoop
from streams.engine.partition.merged_input import MergedInput
from streams.engine.partition.offsets import check_start
from streams.engine.partition.queues import PartitionInputs, RecordQueue
from streams.engine.partition.restore import filled, restore
from streams.engine.partition.state_format import check_format, first_rows
from streams.engine.partition.transactions import Transactions
from streams.engine.partition.unit import MARKER, MERGED_MARKER
from streams.engine.ports import StateStore
from streams.engine.processor import Processor
from streams.engine.status import PartitionStatus, Phase
from streams.engine.telemetry import SILENT, Telemetry
from streams.errors import DependencyError
from streams.kafka.shutdown import cancel_and_wait, close_with_timeout
from streams.log_events import log_event

log = logging.getLogger(__name__)


class PartitionWriter:
    """Owns one partition from its assignment to its revocation."""

    def __init__(
        self,
        config: PartitionConfig,
        partition: int,
        open_store: Callable[[], StateStore],
        processor: Callable[[int], Processor],
        is_caught_up: Callable[[int], bool],
        failpoint: Callable[[str], None],
        telemetry: Telemetry = SILENT,
    ) -> None:
        """Prepare to own a partition; `start` begins the work.

        Args:
            config: cluster, topics, limits of a unit and times in seconds.
            partition: its number in the source topic.
            open_store: opens the partition's local state.
            processor: makes the processor; gets the number of partitions of the source.
            is_caught_up: whether all of a partition, up to its end, was fetched and handed over.
            failpoint: called with the name of each step, for tests that kill the worker there.
            telemetry: notified of committed units and dead letters; traces records.
        """
        self.config, self.partition = config, partition
        self._open_store, self._new_processor = open_store, processor
        self._is_caught_up, self._failpoint, self._telemetry = is_caught_up, failpoint, telemetry
        self._queue = RecordQueue(config.queue_records, config.queue_bytes)
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None
        self._transactions: Transactions | None = None
        self._store: StateStore | None = None
        self._merged: MergedInput | None = None
        self._work: ProcessingLoop | None = None
        self.next_offset: int | None = None
        self.restored = self._to_restore = 0
        self._start: int | None = None
        self._partitions = 0

    @property
    def is_ready(self) -> bool:
        """Whether it takes records, from `next_offset` on."""
        return self._work is not None and not self._is_closing

    @property
    def has_capacity(self) -> bool:
        """Whether more may be fetched for it."""
        return self.is_ready and self._queue.has_capacity

    @property
    def is_busy(self) -> bool:
        """Whether records were taken that are not committed."""
        return not self._queue.is_empty or (self._work is not None and self._work.is_busy)

    @property
    def commits(self) -> int:
        """Units committed that changed the state or an input's position; what only emits is no progress."""
        return self._work.commits if self._work is not None else 0

    @property
    def ticked_to(self) -> int | None:
        """The moment up to which timers fired when nothing was left to read."""
        return self._work.ticked_to if self._work is not None else None

    def status(self, source_end: int | None) -> PartitionStatus:
        """Its status, given that the source ends at `source_end`."""
        work, lags = self._work, dict[str, int]()
        if work is not None and self._start is not None and source_end is not None:
            done = work.done.get(self.config.source, self._start - 1)
            lags[self.config.source] = max(0, source_end - done - 1)
        if self._merged is not None and work is not None:
            lags[self.config.merged] = self._merged.lag
        phase = Phase.RESTORING if self._store is not None else Phase.STARTING
        if self.is_ready:
            phase = Phase.WORKING
        elif self._is_closing:
            phase = Phase.CLOSING
        return PartitionStatus(self.partition, phase, self.restored, self._to_restore, lags, self.ticked_to)

    def start(self, on_failure: Callable[[BaseException], None]) -> None:
        """Begin to work; `on_failure` gets the error that ended it."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                on_failure(error)

        self._task = asyncio.create_task(self._run(), name=f"{self.config.source}-{self.partition}")
        self._task.add_done_callback(ended)

    def enqueue(self, records: list[Any]) -> None:
        """Queue one fetched batch; what the state contains already is left out."""
        expected = self.next_offset or 0
        if records[0].offset < expected:
            records = [record for record in records if record.offset >= expected]
        if records:
            self.next_offset = records[-1].offset + 1
            self._queue.put(records)

    def notify(self) -> None:
        """Look again whether there is something to do."""
        self._queue.notify()

    async def stop(self) -> None:
        """End: the unit in work is committed if it takes no longer than `drain_seconds`, else aborted.

        What is queued is left to the next owner.
        """
        self._is_closing = True
        if self._task is not None:
            if self._work is not None:
                self._work.close()
                await asyncio.wait([self._task], timeout=self.config.drain_seconds)
            await cancel_and_wait(self._task)
        if self._merged is not None:
            await self._merged.stop()
        if self._transactions is not None:
            await self._transactions.close()
        if self._store is not None:
            self._store.close()

    async def _run(self) -> None:
        # Step 1: fence the previous owner.
        self._transactions = transactions = Transactions(self.config, self.partition, self._failpoint)
        await transactions.fence()
        self._failpoint("fenced")
        log.info(
            "partition %d: fenced the previous owner",
            self.partition,
            extra=log_event("partition_fenced", partition=self.partition),
        )
        # Step 2: restore the state.
        self._store = store = self._open_store()
        await self._restore(store, transactions)
        self._failpoint("restored")
        # Step 3: resume both inputs where the state ends.
        merged = await self._resume(store)
        log.info(
            "partition %d: restored %d rows; resuming at offset %d",
            *(self.partition, self.restored, self._start),
            extra=log_event("partition_restored", partition=self.partition, rows=self.restored, offset=self._start),
        )
        # Steps 4 to 7, again and again.
        self._work = ProcessingLoop(
            self.config,
            self.partition,
            PartitionInputs(self._queue, merged, lambda: self._is_caught_up(self.partition)),
            transactions,
            store,
            self._new_processor(self._partitions),
            self._failpoint,
            self._telemetry,
        )
        await self._work.run()

    async def _restore(self, store: StateStore, transactions: Transactions) -> None:
        config = self.config
        await restore(config.cluster, TopicPartition(config.changelog, self.partition), store, self._count)
        check_format(store, config.state_format, config.format_of)
        if rows := first_rows(store, config.state_format):
            position = await transactions.begin_changelog(rows)
            store.write({**rows, **filled(position)})

    async def _resume(self, store: StateStore) -> MergedInput:
        config = self.config
        self._start = self.next_offset = await self._start_of_source(_after(store.get(MARKER)))
        merged = MergedInput(
            config.cluster,
            TopicPartition(config.merged, self.partition),
            _after(store.get(MERGED_MARKER)),
            config.accepts_gaps,
            self._queue.notify,
        )
        self._merged = merged  # so that `stop` closes it even if its start fails
        await merged.start()
        return merged

    async def _start_of_source(self, marker: int | None) -> int:
        source = TopicPartition(self.config.source, self.partition)
        consumer = self.config.cluster.consumer(group_id=self.config.group, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign([source])
            start = await check_start(consumer, source, marker, self.config.accepts_gaps)
            committed = await consumer.committed(source)
            # As many as there are now: where some are added the group shares them out, and a new writer begins.
            self._partitions = len(consumer.partitions_for_topic(source.topic) or ())
            if self.partition >= self._partitions:
                raise DependencyError(
                    f"{source.topic}: {self._partitions} partitions are known, and not {self.partition}"
                )
        finally:
            await close_with_timeout(consumer.stop())
        if committed is not None and committed > start:
            self._log_rebuilt(committed, start)
        return start

    def _log_rebuilt(self, committed: int, start: int) -> None:
        log.critical(
            "%s-%d: the group has committed offset %d, but the state ends before %d: it was lost or "
            "replaced. Rebuilding it from offset %d; ids of verdicts written before stay the same",
            *(self.config.source, self.partition, committed, start, start),
            extra=log_event("state_rebuilt", partition=self.partition, committed=committed, offset=start),
        )

    def _count(self, rows: int, left: int) -> None:
        self.restored += rows
        self._to_restore = left


def _after(marker: bytes | None) -> int | None:
    return int(marker) + 1 if marker is not None else None
