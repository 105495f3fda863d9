"""The promises of a compacted table on a log in memory; and what only such a log can do at will."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streams.kafka.reader import refuse_unread
from streams.kafka.table import CompactedTable
from streams.kafka.topics import TopicError
from streams.kafka.unread import UnreadBatch
from tests.contract.compacted_table import CompactedTableContract, ManualClock, Topic, number
from tests.support.memory_topic import MemoryLog, MemoryTopic, Partition


class TopicInMemory(Topic):
    def __init__(self) -> None:
        self.topic = MemoryTopic()

    async def create(self, partitions: int) -> None:
        self.topic.partitions = [Partition() for _ in range(partitions)]

    async def send(self, *rows: tuple[bytes, bytes | None], partition: int = 0) -> None:
        for key, value in rows:
            self.topic.append(key, value, partition)

    async def leave_gap(self, partition: int = 0) -> None:
        self.topic.partitions[partition].end += 2

    def log(self, *, from_end: bool = False) -> MemoryLog:
        return MemoryLog(self.topic, from_end=from_end)


@pytest.fixture
def topic() -> TopicInMemory:
    return TopicInMemory()


class TestInMemory(CompactedTableContract):
    """A log in memory."""


def test_a_compacted_log_gives_the_same_rows(topic: TopicInMemory) -> None:
    async def scenario() -> None:
        await topic.create(1)
        await topic.send(*((b"%d" % (row % 7), b"%d" % row) for row in range(50)), (b"3", None))
        async with CompactedTable(topic.log(), number) as table:
            before = dict(table.rows)
        topic.topic.compact()
        async with CompactedTable(topic.log(), number) as table:
            assert table.rows == before
            assert before == {b"%d" % (row % 7): row for row in range(43, 50) if row % 7 != 3}

    asyncio.run(scenario())


def test_a_broker_that_does_not_answer_leaves_the_rows_and_makes_them_older(topic: TopicInMemory) -> None:
    async def scenario() -> None:
        await topic.create(2)
        await topic.send((b"a", b"1"))
        clock = ManualClock()
        async with CompactedTable(topic.log(), number, clock=clock) as table:
            assert table.staleness_seconds == 0
            topic.topic.is_silent = True
            await topic.send((b"a", b"2"))
            for waited in (60, 120):
                clock.now += 60
                assert not await table.poll()
                assert table.staleness_seconds == waited
            assert table.rows == {b"a": 1}
            topic.topic.is_silent = False
            assert set(await table.poll()) == {b"a"}
            assert table.staleness_seconds == 0
            assert table.rows == {b"a": 2}

    asyncio.run(scenario())


def test_it_is_as_old_as_its_oldest_partition(topic: TopicInMemory) -> None:
    async def scenario() -> None:
        await topic.create(2)
        clock = ManualClock()
        async with CompactedTable(topic.log(), number, clock=clock) as table:
            clock.now += 60
            await topic.send(*((b"a", b"%d" % row) for row in range(9)), partition=1)
            await table.poll()  # of what comes behind in partition 1 only the first part
            assert table.staleness_seconds == 60
            clock.now += 1
            await table.catch_up()
            assert table.staleness_seconds == 0
            assert table.rows == {b"a": 8}

    asyncio.run(scenario())


def test_a_start_that_the_broker_does_not_answer_waits_for_it(topic: TopicInMemory) -> None:
    async def scenario() -> None:
        await topic.create(1)
        await topic.send((b"a", b"1"))
        topic.topic.is_silent = True
        table = CompactedTable(topic.log(), number)
        starting = asyncio.create_task(table.start())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not starting.done()
        assert table.rows == {}
        topic.topic.is_silent = False
        await starting
        assert table.rows == {b"a": 1}
        await table.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("is_missing", [True, False])
def test_a_start_that_fails_leaves_nothing_open(topic: TopicInMemory, is_missing: bool) -> None:
    async def scenario() -> None:
        if not is_missing:
            await topic.create(1)
            await topic.send((b"a", b"one"))
        log = topic.log()
        with pytest.raises(TopicError if is_missing else ValueError):
            await CompactedTable(log, number).start()
        assert not log.is_open

    asyncio.run(scenario())


def test_a_batch_that_cannot_be_read_is_reported_and_the_rest_is_read(
    topic: TopicInMemory, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(**options: Any) -> dict[bytes, int]:
        await topic.create(1)
        await topic.send((b"a", b"1"))
        topic.topic.put(UnreadBatch("in", 2, 0, 0, bytes(16) + b"\2" + bytes(44), ValueError("damaged")))
        await topic.send((b"b", b"2"))
        async with CompactedTable(topic.log(), number, **options) as table:
            return table.rows

    assert asyncio.run(scenario()) == {b"a": 1, b"b": 2}
    assert "in-2: offset 0: batch of" in caplog.text
    assert caplog.text.rstrip().endswith("left out")
    with pytest.raises(TopicError, match=r"in-2: offset 0: batch of .* let a worker read it first"):
        asyncio.run(scenario(on_unread=refuse_unread))
