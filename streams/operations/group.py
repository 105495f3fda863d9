"""The topics of the product on a cluster, and whether its workers have stopped."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata

from streams.engine.partition.transactions import transactional_id
from streams.kafka.batch_producer import producer_of
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
        try:
            groups = [
                group
                for answer in await admin.describe_consumer_groups([settings.app_id])
                for group in answer.to_object()["groups"]
            ]
        except GroupCoordinatorNotAvailableError:
            return 0  # no group was ever made on this cluster
    return sum(len(group["members"]) for group in groups)


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
