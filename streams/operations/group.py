"""The topics of the product on a cluster, and whether its workers have stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError, for_code
from aiokafka.structs import OffsetAndMetadata

from streams.engine.partition.transactions import transactional_id
from streams.kafka.batch_producer import producer_of
from streams.kafka.cluster import Admin
from streams.kafka.provisioning import create_topics, topics_of
from streams.kafka.reader import existing_partitions, extents_of, partitions_of
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS, TopicError
from streams.settings.worker import Settings

log = logging.getLogger(__name__)

CHANGELOG: Final = "state-changelog"
"""The changelog's name without prefix and application."""
INPUTS: Final = (TOPICS["inbound_connection"], TOPICS["admin_command"])
"""The topics of which the state has a marker: source and side input."""
SIGNS: Final = TOPICS["partition_progress"]
"""Workers' signs of life: true of the moment and of these workers, so they are neither saved nor moved."""
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 5.0
_CREATE_SECONDS = 30.0


class WorkersRunningError(RuntimeError):
    """Workers run, and this must not be done beside them."""


class TopicContentError(RuntimeError):
    """Topics hold what this cannot work with; the message names the topic and what is wrong."""


@dataclass(frozen=True, slots=True)
class ProductTopic:
    """A topic by its name without prefix, and on this cluster."""

    name: str
    topic: str
    partitions: tuple[TopicPartition, ...]


def named_topics(settings: Settings) -> dict[str, NewTopic]:
    """The topics to create, by their names without prefix and application."""
    length = len(settings.topic_prefix)
    return {
        CHANGELOG if topic.name == settings.changelog else topic.name[length:]: topic for topic in topics_of(settings)
    }


async def find_topics(settings: Settings) -> dict[str, ProductTopic]:
    """Every topic of the product.

    Raises:
        TopicError: one does not exist.
    """
    names = {name: topic.name for name, topic in named_topics(settings).items()}
    partitions = await partitions_of(cluster_of(settings), *names.values())
    return {name: ProductTopic(name, topic, tuple(partitions[topic])) for name, topic in names.items()}


async def find_existing(settings: Settings) -> dict[str, ProductTopic]:
    """The topics of the product that exist."""
    names = {name: topic.name for name, topic in named_topics(settings).items()}
    partitions = await existing_partitions(cluster_of(settings), *names.values())
    return {
        name: ProductTopic(name, topic, tuple(partitions[topic]))
        for name, topic in names.items()
        if topic in partitions
    }


async def create_and_find(settings: Settings) -> dict[str, ProductTopic]:
    """Create the missing topics; returns every topic once the brokers report all of them.

    Raises:
        TopicError: one could not be created.
        TimeoutError: the brokers do not tell of one.
    """
    await create_topics(settings)
    async with asyncio.timeout(_CREATE_SECONDS):
        while True:
            try:
                return await find_topics(settings)
            except TopicError:
                await asyncio.sleep(_POLL_SECONDS)


async def require_empty(settings: Settings, topics: dict[str, ProductTopic]) -> None:
    """Refuse topics that hold anything.

    Raises:
        TopicContentError: one does.
    """
    every = [partition for topic in topics.values() for partition in topic.partitions]
    for partition, (begin, end) in (await extents_of(cluster_of(settings), every, "read_uncommitted")).items():
        if begin != end:
            raise TopicContentError(
                f"{partition.topic}-{partition.partition}: holds records {begin}..{end - 1}: must be empty"
            )


async def require_stopped(settings: Settings) -> None:
    """Wait until no worker is a member of the group, as long as one that was killed may be.

    Raises:
        WorkersRunningError: some still are.
    """
    left = settings.session_timeout_seconds + _GRACE_SECONDS
    while members := await members_of(settings):
        if left <= 0:
            raise WorkersRunningError(f"group {settings.app_id}: {members} workers are still members: stop them first")
        log.warning("waiting for %d members to leave group %s", members, settings.app_id)
        await asyncio.sleep(_POLL_SECONDS)
        left -= _POLL_SECONDS


async def members_of(settings: Settings) -> int:
    """The number of workers that are members of the group; one that was killed is, until its session times out."""
    async with cluster_of(settings).opened_admin() as admin:
        return len(await describe_members(admin, settings.app_id))


async def describe_members(admin: Admin, group: str) -> list[Mapping[str, Any]]:
    """The members of a group, as Kafka describes them.

    Raises:
        KafkaError: this user may not see the group.
    """
    try:
        answers = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:
        return []  # no group was ever made on this cluster
    rows = [row for answer in answers for row in answer.to_object()["groups"]]
    for row in rows:
        if row["error_code"]:
            raise for_code(row["error_code"])(f"group {group}")
    return [member for row in rows for member in row["members"]]


async def committed_offsets(admin: Admin, group: str) -> dict[TopicPartition, int]:
    """The offsets that a group has committed.

    Raises:
        KafkaError: this user may not see the group.
    """
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    except GroupCoordinatorNotAvailableError:
        return {}  # no group was ever made on this cluster
    return {where: found.offset for where, found in offsets.items() if found.offset >= 0}


async def fence_writers(settings: Settings, partitions: int) -> None:
    """End every writer of the state, whatever became of its process, and settle what it had not committed."""
    source = settings.topic(INPUTS[0])
    for partition in range(partitions):
        async with producer_of(settings, transactional_id(settings.app_id, source, partition)):
            pass


async def commit_offsets(settings: Settings, offsets: dict[TopicPartition, int]) -> None:
    """Set the group's committed offsets, which lag monitoring reads."""
    consumer = cluster_of(settings).consumer(group_id=settings.app_id, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(offsets))
        await consumer.commit({partition: OffsetAndMetadata(offset, "") for partition, offset in offsets.items()})
    finally:
        await consumer.stop()
