"""How a restore reads its changelog, on a consumer without a broker; what it restores is tested on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import pytest
from aiokafka import TopicPartition

from streams.engine.partition.restore import POSITION, WRITE_ROWS, restore
from streams.kafka.cluster import Cluster
from streams.kafka.reader import EMPTY_FETCHES
from streams.kafka.topics import TopicError
from streams.testing import MemoryStore

CHANGELOG = TopicPartition("changelog", 3)


class Row(NamedTuple):
    key: bytes
    value: bytes


class FakeConsumer:
    """A consumer of one partition; as a cluster it is its own client."""

    def __init__(self, rows: int) -> None:
        self.rows = [Row(b"s/%d" % number, b"%d" % number) for number in range(rows)]
        self.at = 0
        self.most = 0
        self.empty_fetches = 0
        self.told_end = len(self.rows)

    def consumer(self, **options: Any) -> FakeConsumer:
        self.most = options.get("max_poll_records", 500)
        return self

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert partitions == [CHANGELOG]

    async def beginning_offsets(self, _partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {CHANGELOG: 0}

    async def end_offsets(self, _partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        told, self.told_end = self.told_end, len(self.rows)
        return {CHANGELOG: told}

    def seek(self, _partition: TopicPartition, offset: int) -> None:
        self.at = offset

    async def position(self, _partition: TopicPartition) -> int:
        return self.at

    async def getmany(
        self, *_partitions: TopicPartition, timeout_ms: int, max_records: int | None = None
    ) -> dict[TopicPartition, list[Row]]:
        assert timeout_ms
        if self.empty_fetches:
            self.empty_fetches -= 1
            return {}
        rows = self.rows[self.at : self.at + (max_records or self.most)]
        self.at += len(rows)
        return {CHANGELOG: rows} if rows else {}


class WatchedStore(MemoryStore):
    """Keeps what was written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Mapping[bytes, bytes | None]] = []

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        self.writes.append(dict(changes))
        super().write(changes)


def restored(consumer: FakeConsumer, store: MemoryStore) -> None:
    asyncio.run(restore(cast("Cluster", consumer), CHANGELOG, store, lambda _rows, _left: None))


def test_rows_are_written_in_small_batches_each_with_its_position() -> None:
    """In large ones all of their memory is new: half of a restore's time went into its pages."""
    consumer, store = FakeConsumer(10 * WRITE_ROWS + 1), WatchedStore()
    restored(consumer, store)
    writes = [changes for changes in store.writes if POSITION in changes]
    assert max(map(len, writes)) <= 2 * WRITE_ROWS <= 5_000
    done = 0
    for changes in writes:
        done += len(changes) - 1
        assert changes[POSITION] == b"%d" % done
    assert done == len(consumer.rows)


@pytest.mark.parametrize("rows", [0, 3], ids=["before its first row", "behind some"])
def test_a_restore_ends_when_the_changelog_was_made_again_with_less(rows: int) -> None:
    """Its end was told before; nothing will ever come up to there."""
    consumer = FakeConsumer(rows)
    consumer.told_end = 5
    with pytest.raises(TopicError, match=rf"changelog-3: ended at offset 5, and now at {rows}: .* made again"):
        restored(consumer, MemoryStore())


def test_a_restore_waits_for_rows_that_are_late() -> None:
    consumer, store = FakeConsumer(3), MemoryStore()
    consumer.empty_fetches = 3 * EMPTY_FETCHES
    restored(consumer, store)
    assert store.get(b"s/2") == b"2"
