"""Reads whole topics with read_committed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError, for_code

from streams.adapters.topics import TopicError
from streams.engine.cluster import Cluster


async def partitions_of(cluster: Cluster, *topics: str) -> dict[str, list[TopicPartition]]:
    """The partitions of topics.

    Raises:
        TopicError: one does not exist.
    """
    admin = cluster.admin()
    try:
        await admin.start()
        found = await admin.describe_topics(list(topics))
    finally:
        await admin.close()
    for row in found:
        if row["error_code"]:
            error = for_code(row["error_code"])
            is_missing = error is UnknownTopicOrPartitionError
            said = f"does not exist on {cluster.bootstrap}: tes topics create" if is_missing else error.__name__
            raise TopicError(f"{row['topic']}: {said}")
    return {
        row["topic"]: sorted(TopicPartition(row["topic"], item["partition"]) for item in row["partitions"])
        for row in found
    }


async def read_all(cluster: Cluster, topic: str) -> AsyncIterator[Any]:
    """Every committed record of a topic, from its beginning to the end as it is now.

    Raises:
        TopicError: the topic does not exist.
    """
    consumer = cluster.consumer(
        group_id=None,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        partitions = (await partitions_of(cluster, topic))[topic]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    yield record
    finally:
        await consumer.stop()
