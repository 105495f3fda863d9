"""What a coordinator left undecided of a publication ends with the next one; only on an old cluster it can be made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from streams.edge.connectors.topic import connector_topic_of, publish_connectors
from streams.kafka.cluster import Cluster
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.policies.configured import policy_topic_of
from streams.policies.files import read_policy
from streams.policies.publishing import publish
from streams.policies.reader import read_published
from streams.settings.worker import Settings
from tests.support.transactions import until_complete

POLICY = replace(read_policy("microsoft-2026-09"), effective_at=datetime(2090, 1, 1, tzinfo=UTC))
KEYS = b"first", b"left"


async def write_unmarked(cluster: Cluster, transactional_id: str, topics: list[str], has_first: bool) -> None:
    """Write to the first partition of topics in a transaction that its coordinator does not hear of, and never ends."""
    producer = cluster.producer(transactional_id=transactional_id, acks="all")
    await producer.start()
    try:
        if has_first:  # the one that the coordinator knows of is committed then
            async with producer.transaction():
                await producer.send(topics[0], None, key=KEYS[0], partition=0)
            async with cluster.opened_client() as client:
                await until_complete(client, transactional_id)
        await producer.begin_transaction()
        cast(Any, producer)._txn_manager._txn_partitions |= {TopicPartition(topic, 0) for topic in topics}
        for topic in topics:
            await producer.send_and_wait(topic, b"?", key=KEYS[1], partition=0)
        cast(Any, producer)._txn_manager._txn_partitions.clear()
    finally:
        await producer.stop()


@pytest.fixture
def old(settings: Settings, old_bootstrap: str) -> Settings:
    return replace(settings, bootstrap=old_bootstrap)


def run(settings: Settings, scenario: Callable[[Cluster], Awaitable[None]]) -> None:
    async def begin() -> None:
        await create_topics(settings)
        await scenario(cluster_of(settings))

    asyncio.run(begin())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("has_first", [True, False], ids=["after one that was committed", "alone"])
def test_connectors_are_published_behind_an_undecided_publication(old: Settings, has_first: bool) -> None:
    topic = connector_topic_of(old)

    async def scenario(cluster: Cluster) -> None:
        await write_unmarked(cluster, f"{old.app_id}-connectors-publisher", [topic.name], has_first)
        for left in (["left"] if has_first else [], []):
            found = await publish_connectors(topic, old.app_id, [], 1, "operator", "")
            assert [*found.removed] == left

    run(old, scenario)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("has_first", [True, False], ids=["after one that was committed", "alone"])
def test_a_policy_is_published_behind_an_undecided_publication(old: Settings, has_first: bool) -> None:
    topic = policy_topic_of(old)

    async def scenario(cluster: Cluster) -> None:
        topics = [topic.policies_topic, old.topic(TOPICS["audit_record"])]
        await write_unmarked(cluster, f"{old.app_id}-policy-publisher", topics, has_first)
        await publish(topic, old.app_id, POLICY, [], "operator", "")
        assert [found.policy_id for found in (await read_published(topic)).policies] == [POLICY.policy_id]

    run(old, scenario)
