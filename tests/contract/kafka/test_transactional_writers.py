"""What each of both writers of transactions does when others take over, answers get lost, or brokers go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, ProducerFenced

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.kafka.transactional.announced import AnnouncedWriter
from streams.kafka.transactional.implicit import ImplicitWriter
from streams.kafka.transactional.messages import (
    EndTxnRequest,
    ProduceRequest,
    TxnOffsetCommitRequest,
)
from streams.kafka.transactional.writer import TransactionalWriter, open_writer
from streams.settings.worker import Settings
from tests.support.transactions import transaction_state, until_complete

WRITERS: dict[str, type] = {"new": ImplicitWriter, "old": AnnouncedWriter}


class Corner:
    """Topic, group and transactional id of one test."""

    def __init__(self, settings: Settings) -> None:
        self._cluster, self._id, self.group = cluster_of(settings), settings.app_id, settings.app_id
        self.topic = settings.topic(TOPICS["verdict"])
        self.own = TopicPartition(settings.changelog, 0)
        self.source = TopicPartition(settings.topic(TOPICS["inbound_connection"]), 0)

    async def writer(self) -> TransactionalWriter:
        """A writer; it fences the one before it."""
        return await open_writer(self._cluster, "test", self._id, 60.0, self.own, [self.topic])

    async def write(
        self,
        writer: TransactionalWriter,
        values: Mapping[int, list[list[bytes]]],
        offset: int | None = None,
        offsets_sent: Callable[[], None] = lambda: None,
    ) -> list[int]:
        """Write values, as a list for each batch, by partition; and the next offset of the source."""
        batches = []
        for partition, lists in values.items():
            for some in lists:
                batch = writer.new_batch()
                for value in some:
                    batch.append(key=b"k", value=value, timestamp=None, headers=[])
                batches.append((TopicPartition(self.topic, partition), batch))
        offsets = {} if offset is None else {self.source: offset}
        return await writer.write(batches, offsets, self.group, offsets_sent)

    async def commit(
        self, writer: TransactionalWriter, values: Mapping[int, list[list[bytes]]], offset: int | None = None
    ) -> None:
        """The same in a transaction of its own."""
        await writer.begin()
        await self.write(writer, values, offset)
        await writer.commit()

    async def values(self) -> list[tuple[int, bytes]]:
        """Partition and value of everything that was committed, in order."""
        found = [(record.partition, record.value) async for record in read_settled(self._cluster, self.topic)]
        return sorted(found, key=lambda row: row[0])

    async def write_unmarked(
        self, writer: TransactionalWriter, values: Mapping[int, list[list[bytes]]], has_own: bool
    ) -> None:
        """Write a transaction that its coordinator does not hear of, and so never ends; only on an old cluster."""
        manager = cast(Any, writer)._producer._txn_manager
        async with self._cluster.opened_client() as client, asyncio.timeout(30):
            await until_complete(client, self._id)
            await writer.begin()
            manager._txn_partitions |= {self.own, *(TopicPartition(self.topic, partition) for partition in values)}
            await self.write(writer, values)
            if has_own:
                batch = writer.new_batch()
                batch.append(key=b"k", value=b"state", timestamp=None, headers=[])
                await writer.write([(self.own, batch)], {}, self.group, lambda: None)
            assert (await transaction_state(client, self._id)).startswith("Complete")

    async def committed(self) -> int | None:
        """The group's next offset of the source."""
        admin = self._cluster.admin()
        await admin.start()
        try:
            rows = await admin.list_consumer_group_offsets(self.group)
        finally:
            await admin.close()
        return rows[self.source].offset if self.source in rows else None


@pytest.fixture(params=["new", "old"])
def way(request: pytest.FixtureRequest) -> str:
    """The cluster: with `transaction.version` 2, or before."""
    return cast(str, request.param)


@pytest.fixture
def either(settings: Settings, way: str, request: pytest.FixtureRequest) -> Settings:
    """A corner of each cluster."""
    return settings if way == "new" else replace(settings, bootstrap=request.getfixturevalue("old_bootstrap"))


def run(settings: Settings, scenario: Callable[[Corner], Awaitable[None]]) -> None:
    async def begin() -> None:
        await create_topics(settings)
        await scenario(Corner(settings))

    asyncio.run(begin())


def test_a_cluster_gets_the_requests_that_it_knows(either: Settings, way: str) -> None:
    async def scenario(corner: Corner) -> None:
        writer = await corner.writer()
        await writer.stop()
        assert type(writer) is WRITERS[way]

    run(either, scenario)


def test_batches_are_written_in_order_and_their_offsets_returned(either: Settings) -> None:
    async def scenario(corner: Corner) -> None:
        writer = await corner.writer()
        for number in range(3):
            values = {0: [[b"a", b"b"], [b"c"], [b"d"]], 1: [[b"e"]]}
            await writer.begin()
            found = await corner.write(writer, values, number)
            found += await corner.write(writer, {0: [[b"f"]]})
            await writer.commit()
            # A transaction ends with a marker, which takes an offset too.
            first = number * 6
            assert found == [first, first + 2, first + 3, number * 2, first + 4]
        await writer.stop()
        assert await corner.values() == [(0, value) for value in (b"a", b"b", b"c", b"d", b"f")] * 3 + [(1, b"e")] * 3
        assert await corner.committed() == 2

    run(either, scenario)


def test_who_was_fenced_writes_nothing_more(either: Settings) -> None:
    async def scenario(corner: Corner) -> None:
        first = await corner.writer()
        await corner.commit(first, {0: [[b"1"]]}, 1)
        second = await corner.writer()
        with pytest.raises(ProducerFenced):
            await corner.commit(first, {0: [[b"2"]]}, 2)
        await corner.commit(second, {0: [[b"3"]]}, 3)
        await first.stop()
        await second.stop()
        assert await corner.values() == [(0, b"1"), (0, b"3")]
        assert await corner.committed() == 3

    run(either, scenario)


def test_who_was_fenced_within_a_transaction_cannot_commit_it(either: Settings) -> None:
    async def scenario(corner: Corner) -> None:
        first = await corner.writer()
        await first.begin()
        await corner.write(first, {0: [[b"1"]]}, 1)
        second = await corner.writer()
        with pytest.raises(ProducerFenced):
            await first.commit()
        await corner.commit(second, {0: [[b"2"]]}, 2)
        await first.stop()
        await second.stop()
        assert await corner.values() == [(0, b"2")]
        assert await corner.committed() == 2

    run(either, scenario)


def test_the_open_transaction_of_one_that_was_killed_is_settled_by_the_next(either: Settings) -> None:
    async def scenario(corner: Corner) -> None:
        killed = await corner.writer()
        await killed.begin()
        await corner.write(killed, {0: [[b"1"]], 1: [[b"1"]]}, 1)
        await killed.stop()
        following = await corner.writer()
        assert await corner.values() == []
        assert await corner.committed() is None
        await corner.commit(following, {0: [[b"2"]]}, 2)
        await following.stop()
        assert await corner.values() == [(0, b"2")]
        assert await corner.committed() == 2

    run(either, scenario)


@pytest.mark.parametrize("has_own", [True, False], ids=["own", "others"])
@pytest.mark.parametrize("is_commit", [True, False], ids=["committed", "aborted"])
def test_what_a_coordinator_left_undecided_ends_with_the_next_owner(
    settings: Settings, old_bootstrap: str, is_commit: bool, has_own: bool
) -> None:
    """A coordinator that comes back may leave partitions out that have no leader yet: KAFKA-20734.

    What is not known to be committed is aborted, unless the own partition has it already: then it was.
    """
    is_seen = is_commit or not has_own

    async def scenario(corner: Corner) -> None:
        before = await corner.writer()
        await before.begin()
        await corner.write(before, {0: [[b"1"]]})
        await (before.commit() if is_commit else before.abort())
        await corner.write_unmarked(before, {0: [[b"2"]], 1: [[b"2"]]}, has_own)
        await before.stop()
        seen = [(0, b"1")] * is_commit + [(0, b"2"), (1, b"2")] * is_seen
        following = await corner.writer()
        assert await corner.values() == seen
        await following.begin()
        await corner.write(following, {0: [[b"3"]], 1: [[b"3"]]})
        await following.abort()
        await following.stop()
        assert await corner.values() == seen

    run(replace(settings, bootstrap=old_bootstrap), scenario)


def test_after_an_abort_nobody_reads_anything_and_the_next_transaction_is_whole(either: Settings) -> None:
    async def scenario(corner: Corner) -> None:
        writer = await corner.writer()
        await writer.begin()
        await corner.write(writer, {0: [[b"1"]]}, 1)
        await writer.abort()
        await corner.commit(writer, {0: [[b"2"]]}, 2)
        await writer.stop()
        assert await corner.values() == [(0, b"2")]
        assert await corner.committed() == 2

    run(either, scenario)


def test_a_transaction_without_anything_is_none(either: Settings) -> None:
    async def scenario(corner: Corner) -> None:
        writer = await corner.writer()
        await corner.commit(writer, {})
        await writer.begin()
        await writer.abort()
        await corner.commit(writer, {0: [[b"1"]]})
        await writer.stop()
        assert await corner.values() == [(0, b"1")]

    run(either, scenario)


def test_what_a_broker_refuses_is_raised(either: Settings) -> None:
    async def scenario(corner: Corner) -> None:
        writer = await corner.writer()
        with pytest.raises(MessageSizeTooLargeError):
            await corner.commit(writer, {0: [[b"x" * (2 << 20)]]}, 1)
        await writer.abort()
        await writer.stop()
        assert await corner.committed() is None

    run(either, scenario)


class Losing:
    """Between a writer and its brokers: of each kind of request the n-th is answered, and the answer gets lost."""

    def __init__(self, writer: TransactionalWriter, count: int) -> None:
        self._client: Any = writer._client  # type: ignore[attr-defined]
        self._send = self._client.send
        self._client.send = self.send
        self._left = dict.fromkeys((TxnOffsetCommitRequest, ProduceRequest, EndTxnRequest), count)

    async def send(self, node: int, request: Any) -> Any:
        answer = await self._send(node, request)
        kind = type(request)
        if kind in self._left:
            self._left[kind] -= 1
            if self._left[kind] == 0:
                for connection in self._client._conns.values():
                    connection.close()
                raise KafkaConnectionError("the answer was lost")
        return answer

    @property
    def has_lost(self) -> bool:
        """Whether it lost one of each kind."""
        return all(left <= 0 for left in self._left.values())


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_sent_again_after_a_lost_answer_is_written_once(settings: Settings, count: int) -> None:
    async def scenario(corner: Corner) -> None:
        writer = await corner.writer()
        losing = Losing(writer, count)
        for number in range(3):
            await corner.commit(writer, {0: [[b"%d" % number], [b"+"]], 1: [[b"x"]]}, number + 1)
        await writer.stop()
        assert losing.has_lost
        assert writer.lost_answers == 3
        values = [value for number in range(3) for value in ((0, b"%d" % number), (0, b"+"))]
        assert await corner.values() == [*values, *[(1, b"x")] * 3]
        assert await corner.committed() == 3

    run(settings, scenario)


def test_an_abort_is_sent_again_too(settings: Settings) -> None:
    async def scenario(corner: Corner) -> None:
        writer = await corner.writer()
        losing = Losing(writer, 1)
        await writer.begin()
        await corner.write(writer, {0: [[b"1"]]}, 1)
        await writer.abort()
        await corner.commit(writer, {0: [[b"2"]]}, 2)
        await writer.stop()
        assert losing.has_lost
        assert await corner.values() == [(0, b"2")]
        assert await corner.committed() == 2

    run(settings, scenario)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_transaction_outlives_a_broker_that_goes_and_comes_back(tmp_path: Path, how: str) -> None:
    with EmbeddedKafka(tmp_path / "kafka", jars_dir=ensure_jars()) as kafka:
        settings = Settings(bootstrap=kafka.bootstrap, app_id="tes-outlives", partitions=2, state_dir=str(tmp_path))

        def go_and_come_back() -> None:
            getattr(kafka, how)()
            kafka.restart()

        async def scenario(corner: Corner) -> None:
            writer = await corner.writer()
            await corner.commit(writer, {0: [[b"1"]]}, 1)
            await writer.begin()
            await corner.write(writer, {0: [[b"2"]]}, 2, go_and_come_back)
            await corner.write(writer, {1: [[b"3"]]})
            go_and_come_back()
            await writer.commit()
            # A broker that is killed before it has written the markers may leave them out when it comes back, whoever
            # wrote the transaction; whoever reads to the end of what is committed has seen them.
            assert await corner.values() == [(0, b"1"), (0, b"2"), (1, b"3")]
            go_and_come_back()
            await corner.commit(writer, {0: [[b"4"]]}, 4)
            await writer.stop()
            assert await corner.values() == [(0, b"1"), (0, b"2"), (0, b"4"), (1, b"3")]
            assert await corner.committed() == 4

        run(settings, scenario)
