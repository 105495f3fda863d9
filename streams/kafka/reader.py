"""Reads whole topics with read_committed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError, for_code

from streams.kafka.cluster import Cluster, Consumer
from streams.kafka.topics import TopicError
from streams.kafka.unread import UnreadBatch

log = logging.getLogger(__name__)

FETCH_WAIT_MS: Final = 100
"""How long a broker holds back an answer without records."""
EMPTY_FETCHES: Final = 50
"""Fetches in a row without a record after which the ends are asked for again: ten seconds."""


async def partitions_of(cluster: Cluster, *topics: str) -> dict[str, list[TopicPartition]]:
    """The partitions of topics.

    Raises:
        TopicError: one does not exist.
    """
    found = await existing_partitions(cluster, *topics)
    for topic in topics:
        if topic not in found:
            raise TopicError(f"{topic}: does not exist on {cluster.bootstrap}: tes topics create")
    return found


async def existing_partitions(cluster: Cluster, *topics: str) -> dict[str, list[TopicPartition]]:
    """The partitions of those of the topics that exist.

    Raises:
        TopicError: the brokers do not tell of one.
    """
    async with cluster.opened_admin() as admin:
        rows = await admin.describe_topics(list(topics))
    found = {}
    for row in rows:
        topic, error = row["topic"], row["error_code"] and for_code(row["error_code"])
        if error and error is not UnknownTopicOrPartitionError:
            raise TopicError(f"{topic}: {error.__name__}")
        if not error:
            found[topic] = sorted(TopicPartition(topic, item["partition"]) for item in row["partitions"])
    return found


async def read_settled(cluster: Cluster, topic: str) -> AsyncIterator[Any]:
    """Every committed record of a topic, from its beginning to its end; what is in transactions there is waited for.

    A producer that has committed goes on before the broker has marked all partitions; until then none of them shows it.

    Raises:
        TopicError: the topic does not exist.
    """
    partitions = (await partitions_of(cluster, topic))[topic]
    extents = await extents_of(cluster, partitions, "read_uncommitted")
    async for record in read_partitions(
        cluster, dict.fromkeys(partitions), {one: end for one, (_, end) in extents.items()}
    ):
        yield record


async def read_partitions(
    cluster: Cluster,
    starts: Mapping[TopicPartition, int | None],
    ends: Mapping[TopicPartition, int] | None = None,
    *,
    needs_all: bool = False,
) -> AsyncIterator[Any]:
    """Every committed record of partitions in front of `ends`, else of the end as it is now.

    Each is read from its start on, which is the beginning where it is None or no longer held. A batch that cannot be
    read is told on stderr and left out, unless the reader `needs_all`.

    Raises:
        TopicError: a batch cannot be read, and the reader needs all; or a partition was made again with less.
    """
    consumer = open_consumer(cluster)
    try:
        await consumer.start()
        partitions = list(starts)
        consumer.assign(partitions)
        ends = ends or await consumer.end_offsets(partitions)
        for partition, begin in (await consumer.beginning_offsets(partitions)).items():
            consumer.seek(partition, max(begin, starts[partition] or 0))
        async for fetched in fetch_to(cluster, consumer, {one: ends[one] for one in partitions}):
            for partition, records in fetched.items():
                for record in records:
                    if isinstance(record, UnreadBatch):
                        (refuse_unread if needs_all else report_unread)(record)
                    elif record.offset < ends[partition]:
                        yield record
    finally:
        await consumer.stop()


async def fetch_to(
    cluster: Cluster, consumer: Consumer, ends: Mapping[TopicPartition, int], max_records: int | None = None
) -> AsyncIterator[Mapping[TopicPartition, Sequence[Any]]]:
    """What is fetched until the consumer is at the ends that were told, fetch by fetch; some have nothing.

    Raises:
        TopicError: a partition was made again with less, so that nothing may ever come up to its end.
    """
    empty = 0
    while left := [one for one, end in ends.items() if await consumer.position(one) < end]:
        fetched = await consumer.getmany(*left, timeout_ms=200, max_records=max_records)
        empty = 0 if fetched else empty + 1
        if empty == EMPTY_FETCHES:
            empty = 0
            refuse_less(
                ends, {one: end for one, (_, end) in (await extents_of(cluster, left, "read_uncommitted")).items()}
            )
        yield fetched


def refuse_less(told: Mapping[TopicPartition, int], now: Mapping[TopicPartition, int]) -> None:
    """Refuse ends that are in front of those that were told before.

    Raises:
        TopicError: one is.
    """
    for partition, end in now.items():
        if end < told[partition]:
            was = f"ended at offset {told[partition]}, and now at {end}"
            raise TopicError(f"{partition.topic}-{partition.partition}: {was}: it was deleted and made again")


def report_unread(unread: UnreadBatch) -> None:
    """Say that a batch is left out."""
    log.warning("%s: left out", _named(unread))


def refuse_unread(unread: UnreadBatch) -> None:
    """Refuse to go on without a batch.

    Raises:
        TopicError: always.
    """
    said = "let a worker read it first, which dead-letters it if it is an input"
    raise TopicError(f"{_named(unread)}: {said}")


def _named(unread: UnreadBatch) -> str:
    return f"{unread.topic}-{unread.partition}: {unread.error}"


async def extents_of(
    cluster: Cluster, partitions: Sequence[TopicPartition], isolation_level: str = "read_committed"
) -> dict[TopicPartition, tuple[int, int]]:
    """Where the records of each partition begin and end; with read_uncommitted, what is in transactions included."""
    if not partitions:
        return {}  # a consumer without any cannot be stopped in order
    consumer = open_consumer(cluster, isolation_level)
    try:
        await consumer.start()
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return {partition: (begins[partition], ends[partition]) for partition in partitions}


def open_consumer(
    cluster: Cluster, isolation_level: str = "read_committed", *, fetch_wait_ms: int = FETCH_WAIT_MS
) -> Consumer:
    """A consumer without a group, to be started; it reads what it is assigned."""
    return cluster.consumer(
        group_id=None,
        isolation_level=isolation_level,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=fetch_wait_ms,
    )
