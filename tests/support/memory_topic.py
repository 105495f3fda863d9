"""A topic in memory, and logs that read it as they would a topic of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from streams.kafka.follower import KnownEnd
from streams.kafka.topics import TopicError
from streams.testing import FakeRecord

TOPIC = "memory"


@dataclass
class Partition:
    """Records by offset, and where the next one goes."""

    records: dict[int, Any] = field(default_factory=dict)
    end: int = 0


@dataclass
class MemoryTopic:
    """A topic; `is_silent` is a broker that takes requests for records and does not answer."""

    partitions: list[Partition] = field(default_factory=list)
    is_silent: bool = False

    def append(self, key: bytes | None, value: bytes | None, partition: int = 0) -> None:
        """Write a record."""
        there = self.partitions[partition]
        there.records[there.end] = FakeRecord(TOPIC, there.end, 0, key, value)
        there.end += 1

    def put(self, record: Any, partition: int = 0) -> None:
        """Put in what is no record, as an unread batch."""
        there = self.partitions[partition]
        there.records[there.end] = record
        there.end += 1

    def compact(self) -> None:
        """Leave only the last record of each key, where it is."""
        for partition in self.partitions:
            last = {record.key: offset for offset, record in partition.records.items()}
            partition.records = {offset: partition.records[offset] for offset in sorted(last.values())}


class MemoryLog:
    """Reads a topic in memory, a few records at a time."""

    def __init__(self, topic: MemoryTopic, *, from_end: bool = False, most: int = 3) -> None:
        """Read `topic`; a fetch gives at most so many records."""
        self.topic, self.most, self.from_end = topic, most, from_end
        self.is_open = False
        self._positions: dict[TopicPartition, int] = {}
        self._heard: dict[TopicPartition, int] = {}

    async def open(self) -> None:
        if not self.topic.partitions:
            raise TopicError(f"{TOPIC}: does not exist")
        self.is_open = True
        for number, partition in enumerate(self.topic.partitions):
            begin = min(partition.records, default=partition.end)
            self._positions[TopicPartition(TOPIC, number)] = partition.end if self.from_end else begin

    async def close(self) -> None:
        self.is_open = False

    async def ends(self) -> Mapping[TopicPartition, int]:
        return {where: self.topic.partitions[where.partition].end for where in self._positions}

    async def position(self, partition: TopicPartition) -> int:
        return self._positions[partition]

    async def fetch(self, partitions: Collection[TopicPartition]) -> Sequence[Any]:
        assert self.is_open
        await asyncio.sleep(0)
        self._heard = {}
        fetched: list[Any] = []
        if self.topic.is_silent:
            return fetched
        for where in self._positions:
            there = self.topic.partitions[where.partition]
            self._heard[where] = there.end
            if where in partitions:
                fetched += self._take(where, there)
        return fetched

    def _take(self, where: TopicPartition, there: Partition) -> list[Any]:
        left = [offset for offset in there.records if offset >= self._positions[where]]
        taken = left[: self.most]
        self._positions[where] = taken[-1] + 1 if len(left) > self.most else there.end
        return [there.records[offset] for offset in taken]

    def known_end(self, partition: TopicPartition) -> KnownEnd | None:
        return KnownEnd(self._heard[partition], 0.0) if partition in self._heard else None
