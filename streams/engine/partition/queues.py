"""What waits for a partition's writer: the fetched records of the source, and the merged input."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streams.engine.partition.merged_input import MergedInput
from streams.kafka.unread import UnreadBatch

MAX_BATCHES = 16
"""The most fetched batches that wait, however small.

Bounds what a partition with tiny batches holds beside `queue_records` and `queue_bytes`. No measurement is recorded.
"""


class RecordQueue:
    """Fetched batches in order; fetching pauses while it has no room."""

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records, self._max_bytes = max_records, max_bytes
        self._batches: deque[list[Any]] = deque()
        self._sizes: deque[int] = deque()
        self._records = self._bytes = 0
        self._wake = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._batches

    @property
    def has_capacity(self) -> bool:
        """Whether one more batch may be fetched."""
        return len(self._batches) < MAX_BATCHES and self._records < self._max_records and self._bytes < self._max_bytes

    def put(self, records: list[Any]) -> None:
        """Add a batch; only its last record may be an unread batch."""
        if len(records) > 1 and isinstance(records[-1], UnreadBatch):
            self._add(records[:-1])
            self._add(records[-1:])
        else:
            self._add(records)
        self.notify()

    def _add(self, records: list[Any]) -> None:
        size = sum([record.size for record in records])
        self._batches.append(records)
        self._sizes.append(size)
        self._records += len(records)
        self._bytes += size

    def first(self, most: int) -> list[Any]:
        """The first records of the batch that waits longest; an unread batch stands alone."""
        return self._batches[0][:most]

    def drop(self, count: int) -> None:
        """Remove the first records of the batch that waits longest; they are in the unit.

        Their bytes count until the whole batch is gone: to sum them up again costs more than it frees.
        """
        records = self._batches[0]
        self._records -= count
        if count == len(records):
            self._batches.popleft()
            self._bytes -= self._sizes.popleft()
        else:
            self._batches[0] = records[count:]

    def notify(self) -> None:
        """Look again whether there is something to do."""
        self._wake.set()

    async def wait(self, seconds: float) -> None:
        """Wait until `notify`, at most so long."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()


@dataclass(frozen=True, slots=True)
class PartitionInputs:
    """Both inputs of a partition."""

    queue: RecordQueue
    merged: MergedInput
    is_caught_up: Callable[[], bool]

    @property
    def is_source_at_end(self) -> bool:
        """Whether every record of the source so far was taken."""
        return self.queue.is_empty and self.is_caught_up()

    @property
    def are_at_end(self) -> bool:
        """Whether every record of both inputs so far was taken."""
        return self.is_source_at_end and self.merged.is_at_end and not self.merged.waiting
