"""A second topic with the same partitions, read ahead of the partition's writer.

Reading it here, by assignment, keeps both partitions in one place whatever the group's assignor does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from streams.engine.partition.offsets import check_start
from streams.engine.ports import Record
from streams.kafka.cluster import Cluster, Consumer
from streams.kafka.shutdown import cancel_and_wait, close_with_timeout

READ_AHEAD_RECORDS = 1_000
"""Waiting records above which reading pauses."""
READ_AHEAD_BYTES = 8 << 20
"""Waiting bytes above which reading pauses."""


class MergedInput:
    """Reads one partition from `start` on; `None` is its beginning."""

    def __init__(
        self,
        cluster: Cluster,
        partition: TopicPartition,
        start: int | None,
        accepts_gaps: bool,
        notify: Callable[[], None],
    ) -> None:
        self.waiting: deque[Record] = deque()
        self.is_at_end = False
        self._cluster, self._partition, self._start = cluster, partition, start
        self._accepts_gaps, self._notify = accepts_gaps, notify
        self._bytes = self._end = self._next = 0
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Begin to read.

        Raises:
            GapError: records that were not read yet are gone.
        """
        self._consumer = consumer = self._cluster.consumer(
            isolation_level="read_committed",
            # Out of range means that unread records are gone: an error, no reason to begin elsewhere.
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        consumer.assign([self._partition])
        start = await check_start(consumer, self._partition, self._start, self._accepts_gaps)
        consumer.seek(self._partition, start)
        # Known before the first fetch returns, so that a worker without merged records starts at once.
        self._end = (await consumer.end_offsets([self._partition]))[self._partition]
        self._next = start
        self.is_at_end = start >= self._end
        self._task = asyncio.create_task(self._read(consumer))
        self._task.add_done_callback(lambda _: self._notify())

    async def _read(self, consumer: Consumer) -> None:
        tp = self._partition
        while True:
            while len(self.waiting) >= READ_AHEAD_RECORDS or self._bytes >= READ_AHEAD_BYTES:
                self._room.clear()
                await self._room.wait()
            try:
                fetched = await consumer.getmany(tp, timeout_ms=200, max_records=READ_AHEAD_RECORDS)
            except OffsetOutOfRangeError:
                self._end = 0
                consumer.seek(tp, await check_start(consumer, tp, await consumer.position(tp), self._accepts_gaps))
                continue
            rows = fetched.get(tp, ())
            self.waiting.extend(rows)
            self._next = await consumer.position(tp)
            self._bytes += sum([row.size for row in rows])
            # Behind it a transaction may be open. A broker that has just come back may tell of an earlier end.
            stable = consumer.last_stable_offset(tp)
            self._end = max(self._end, stable or 0)
            was_at_end, self.is_at_end = self.is_at_end, stable is not None and self._next >= self._end
            if rows or was_at_end != self.is_at_end:
                self._notify()

    def pop(self) -> Record:
        """Take the record that waits longest."""
        record = self.waiting.popleft()
        self._bytes -= record.size
        self._room.set()
        return record

    @property
    def lag(self) -> int:
        """Records up to the end that were not taken."""
        return len(self.waiting) + max(0, self._end - self._next)

    @property
    def is_known(self) -> bool:
        """Whether the next record is here, or there is none."""
        return bool(self.waiting) or self.is_at_end

    def check(self) -> None:
        """Raise what ended the reading."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """End the reading."""
        if self._task is not None:
            await cancel_and_wait(self._task)
        if self._consumer is not None:
            await close_with_timeout(self._consumer.stop())
