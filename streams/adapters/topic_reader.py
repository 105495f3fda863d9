"""Reads whole topics with read_committed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError, for_code

from streams.adapters.topics import TopicError


async def partitions_of(bootstrap: str, *topics: str) -> dict[str, list[TopicPartition]]:
    """The partitions of topics.

    Raises:
        TopicError: one does not exist.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        found = await admin.describe_topics(list(topics))
    finally:
        await admin.close()
    for row in found:
        if row["error_code"]:
            error = for_code(row["error_code"])
            said = "does not exist" if error is UnknownTopicOrPartitionError else error.__name__
            raise TopicError(f"{row['topic']}: {said} on {bootstrap}: tes topics create")
    return {
        row["topic"]: sorted(TopicPartition(row["topic"], item["partition"]) for item in row["partitions"])
        for row in found
    }


async def read_all(bootstrap: str, topic: str) -> AsyncIterator[Any]:
    """Every committed record of a topic, from its beginning to the end as it is now.

    Raises:
        TopicError: the topic does not exist.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        partitions = (await partitions_of(bootstrap, topic))[topic]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    yield record
    finally:
        await consumer.stop()
