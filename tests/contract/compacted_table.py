"""What a compacted table promises, on whatever log it reads."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from streams.kafka.follower import Log
from streams.kafka.table import CompactedTable, read_table
from streams.kafka.topics import TopicError

SECONDS = 30.0
"""A table that has not got there by then never will."""


class Topic(ABC):
    """A topic that a test writes to, and reads by a log."""

    @abstractmethod
    async def create(self, partitions: int) -> None:
        """Create it."""

    @abstractmethod
    async def send(self, *rows: tuple[bytes, bytes | None], partition: int = 0) -> None:
        """Write rows."""

    @abstractmethod
    async def leave_gap(self, partition: int = 0) -> None:
        """Leave offsets that no reader gets a record of."""

    @abstractmethod
    def log(self, *, from_end: bool = False) -> Log:
        """A log that reads it."""


class ManualClock:
    """A clock that is moved by hand (seconds)."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def number(value: bytes) -> int:
    """Decode a row: a whole number."""
    return int(value)


async def until(is_there: Callable[[], bool], table: CompactedTable[int]) -> set[bytes]:
    """Poll until something is there; gives the keys that changed."""
    changed = set[bytes]()
    async with asyncio.timeout(SECONDS):
        while not is_there():
            changed |= set(await table.poll())
    return changed


class CompactedTableContract:
    """The promises; a subclass has the fixture `topic`."""

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        """Run a scenario."""
        asyncio.run(scenario)

    def test_an_empty_topic_has_no_rows_and_is_known_to_its_end(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(2)
            async with CompactedTable(topic.log(), number) as table:
                assert table.rows == {}
                assert math.isfinite(table.staleness_seconds)

        self.run(scenario())

    def test_a_missing_topic_is_named(self, topic: Topic) -> None:
        with pytest.raises(TopicError, match="does not exist"):
            self.run(CompactedTable(topic.log(), number).start())

    def test_the_last_value_of_each_key_counts_and_a_tombstone_takes_it_away(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(1)
            await topic.send((b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", None), (b"c", b"4"), (b"d", None))
            await topic.send((b"c", None), (b"c", b"5"))
            assert await read_table(topic.log(), number) == {b"a": 3, b"c": 5}

        self.run(scenario())

    def test_rows_come_from_every_partition(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(3)
            for partition in (0, 2):
                await topic.send(
                    *((b"%d-%d" % (partition, row), b"%d" % row) for row in range(20)), partition=partition
                )
            rows = await read_table(topic.log(), number)
            assert rows == {b"%d-%d" % (partition, row): row for partition in (0, 2) for row in range(20)}

        self.run(scenario())

    def test_offsets_without_records_are_passed_in_the_middle_and_at_the_end(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(1)
            await topic.send((b"a", b"1"))
            await topic.leave_gap()
            await topic.send((b"b", b"2"))
            await topic.leave_gap()
            async with CompactedTable(topic.log(), number) as table:
                assert table.rows == {b"a": 1, b"b": 2}
                assert math.isfinite(table.staleness_seconds)

        self.run(scenario())

    def test_after_the_end_it_follows(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(2)
            await topic.send((b"a", b"1"), (b"b", b"2"))
            async with CompactedTable(topic.log(), number) as table:
                await topic.send((b"a", None))
                await topic.send((b"c", b"3"), partition=1)
                changed = await until(lambda: b"a" not in table.rows and b"c" in table.rows, table)
                assert changed == {b"a", b"c"}
                assert table.rows == {b"b": 2, b"c": 3}
                await topic.send((b"b", b"4"))
                await table.catch_up()
                assert table.rows == {b"b": 4, b"c": 3}
            assert table.rows == {b"b": 4, b"c": 3}

        self.run(scenario())

    def test_it_knows_since_when_it_has_not_been_at_the_end(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(2)
            clock = ManualClock()
            table = CompactedTable(topic.log(), number, clock=clock)
            assert table.staleness_seconds == math.inf
            async with table:
                clock.now += 1000
                assert table.staleness_seconds >= 1000
                await until(lambda: table.staleness_seconds < 1000, table)

        self.run(scenario())

    def test_a_record_that_is_no_row_ends_the_reading(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(1)
            await topic.send((b"a", b"1"), (b"b", b"two"))
            with pytest.raises(ValueError, match="two"):
                await read_table(topic.log(), number)

        self.run(scenario())

    def test_or_it_is_reported_and_its_key_keeps_the_row_before(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(1)
            await topic.send((b"a", b"1"), (b"a", b"one"), (b"b", b"two"), (b"c", b"3"))
            refused: list[tuple[bytes, str]] = []
            table = CompactedTable(
                topic.log(), number, on_undecodable=lambda row, error: refused.append((row.key, str(error)))
            )
            async with table:
                assert table.rows == {b"a": 1, b"c": 3}
            assert [key for key, _ in refused] == [b"a", b"b"]
            assert "b'two'" in refused[1][1]

        self.run(scenario())

    def test_only_the_keys_asked_for_are_decoded(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(1)
            await topic.send((b"a", b"1"), (b"b", b"two"), (b"c", b"3"))
            assert await read_table(topic.log(), number, {b"a", b"d"}) == {b"a": 1}

        self.run(scenario())

    def test_rows_may_be_written_elsewhere(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(1)
            await topic.send((b"a", b"1"), (b"b", b"2"), (b"a", None))
            written: dict[bytes, int | None] = {}
            async with CompactedTable(topic.log(), number, write=written.update) as table:
                assert written == {b"a": None, b"b": 2}
                assert table.rows == {}

        self.run(scenario())

    def test_from_the_end_on_only_what_comes_counts(self, topic: Topic) -> None:
        async def scenario() -> None:
            await topic.create(1)
            await topic.send((b"a", b"1"), (b"b", b"2"))
            async with CompactedTable(topic.log(from_end=True), number) as table:
                assert table.rows == {}
                await topic.send((b"c", b"3"))
                await until(lambda: bool(table.rows), table)
                assert table.rows == {b"c": 3}

        self.run(scenario())
