"""A producer for what is published in transactions, by one publisher at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import TopicPartition

from streams.kafka.cluster import Cluster, Producer
from streams.kafka.transactional.unmarked import take_over

TIMEOUT_MS: Final = 60_000
"""A transaction that is open for longer is aborted by the broker."""


@asynccontextmanager
async def opened_publisher(
    cluster: Cluster, transactional_id: str, topic: str, topics: Sequence[str] = ()
) -> AsyncIterator[Producer]:
    """A started producer, stopped at the end.

    Publishers share the transactional id, so one that overlaps with another fails and changes nothing. What is read
    once this one is open was decided before: nobody can publish any more, and no publication is left undecided.

    Args:
        cluster: where.
        transactional_id: shared by publishers of the same things.
        topic: where they are published, in its first partition. Nobody else writes there.
        topics: where publishers and others write too.

    Raises:
        KafkaError: another publisher began meanwhile, or the broker refused it.
    """

    def make() -> Producer:
        return cluster.producer(transactional_id=transactional_id, acks="all", transaction_timeout_ms=TIMEOUT_MS)

    async with cluster.opened_client() as client:
        own = TopicPartition(topic, 0)
        producer = await take_over(cluster, client, transactional_id, TIMEOUT_MS, own, topics, make)
    try:
        yield producer
    finally:
        await producer.stop()
