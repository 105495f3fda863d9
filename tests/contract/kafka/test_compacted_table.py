"""The promises of a compacted table on a topic of a real broker."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.kafka.cluster import Cluster
from streams.kafka.follower import KafkaLog
from streams.kafka.provisioning import create_missing
from streams.kafka.security import cluster_of
from streams.kafka.table import CompactedTable, read_table
from streams.settings.worker import Settings
from tests.contract.compacted_table import CompactedTableContract, Topic, number, until


class TopicOfBroker(Topic):
    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name

    async def create(self, partitions: int) -> None:
        await create_missing(
            self.cluster, [NewTopic(self.name, partitions, 1, topic_configs={"cleanup.policy": "compact"})]
        )

    async def send(self, *rows: tuple[bytes, bytes | None], partition: int = 0) -> None:
        async with self.cluster.producer(acks="all", enable_idempotence=True) as producer:
            for key, value in rows:
                await producer.send(self.name, value, key=key, partition=partition)
            await producer.flush()

    async def leave_gap(self, partition: int = 0) -> None:
        async with self.cluster.producer(transactional_id=f"{self.name}-gap") as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(self.name, b"0", key=b"aborted", partition=partition)
            await producer.abort_transaction()

    def log(self, *, from_end: bool = False) -> KafkaLog:
        return KafkaLog(self.cluster, [self.name], from_end=from_end)


@pytest.fixture
def topic(settings: Settings) -> TopicOfBroker:
    return TopicOfBroker(cluster_of(settings), settings.topic("table"))


class TestOnKafka(CompactedTableContract):
    """A topic of a broker."""


def test_what_is_in_a_transaction_is_waited_for_where_asked(topic: TopicOfBroker) -> None:
    async def scenario() -> None:
        await topic.create(1)
        await topic.send((b"a", b"1"))
        async with topic.cluster.producer(transactional_id=f"{topic.name}-open") as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(topic.name, b"2", key=b"a", partition=0)
            waiting = KafkaLog(topic.cluster, [topic.name], waits_for_transactions=True)
            reading = asyncio.create_task(read_table(waiting, number))
            assert await read_table(topic.log(), number) == {b"a": 1}
            assert not reading.done()
            await producer.commit_transaction()
            async with asyncio.timeout(20):
                assert await reading == {b"a": 2}

    asyncio.run(scenario())


def test_only_the_partitions_asked_for_are_read(topic: TopicOfBroker) -> None:
    async def scenario() -> None:
        await topic.create(3)
        for partition in range(3):
            await topic.send((b"%d" % partition, b"%d" % partition), partition=partition)
        assert await read_table(KafkaLog(topic.cluster, [topic.name], partitions=[1]), number) == {b"1": 1}

    asyncio.run(scenario())


@pytest.mark.timeout(120)
def test_a_stopped_broker_makes_a_table_older_until_it_runs_again(tmp_path: Path) -> None:
    async def scenario(kafka: EmbeddedKafka) -> None:
        topic = TopicOfBroker(Cluster(kafka.bootstrap), "table")
        await topic.create(2)
        await topic.send((b"a", b"1"))
        async with CompactedTable(topic.log(), number) as table:
            await until(lambda: table.staleness_seconds < 1, table)
            os.kill(kafka.pid, signal.SIGSTOP)
            try:
                await until(lambda: table.staleness_seconds > 3, table)
                assert table.rows == {b"a": 1}
            finally:
                os.kill(kafka.pid, signal.SIGCONT)
            await topic.send((b"a", b"2"))
            await until(lambda: table.staleness_seconds < 1 and table.rows == {b"a": 2}, table)

    with EmbeddedKafka(tmp_path / "kafka", jars_dir=ensure_jars()) as kafka:
        asyncio.run(scenario(kafka))
