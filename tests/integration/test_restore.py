"""A kept store is carried on from its position, unless it was away for so long that deletions may be forgotten."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import PolicyViolationError

from streams.engine.partition.restore import FILLED_AT, KEPT_SECONDS, LOCAL_ROWS, restore
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.settings.worker import Settings
from streams.testing import MemoryStore

GHOST = b"s/deleted"
"""A row that is in a kept store and, as after compaction, nowhere in the changelog."""


def rows_of(store: MemoryStore) -> dict[bytes, bytes]:
    return {key: value for key, value in store.scan(b"", b"\xff") if key not in LOCAL_ROWS}


async def restored_twice(settings: Settings, older_by_ms: int | None) -> MemoryStore:
    """Restore, let the store be so much older (None: of unknown age), and restore again what came since."""
    await create_topics(settings)
    changelog, store = TopicPartition(settings.changelog, 0), MemoryStore()
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
        await producer.send_and_wait(changelog.topic, b"1", b"s/a", 0)
        await restore(cluster_of(settings), changelog, store, lambda _rows, _left: None)
        filled_at = int(store.get(FILLED_AT) or 0)
        store.write({GHOST: b"1", FILLED_AT: None if older_by_ms is None else b"%d" % (filled_at - older_by_ms)})
        await producer.send_and_wait(changelog.topic, b"2", b"s/b", 0)
    await restore(cluster_of(settings), changelog, store, lambda _rows, _left: None)
    return store


@pytest.mark.parametrize("older_by_ms", [KEPT_SECONDS * 1000, -3_600_000, None], ids=["old", "of tomorrow", "unknown"])
def test_a_store_that_is_too_old_is_restored_anew(settings: Settings, older_by_ms: int | None) -> None:
    store = asyncio.run(restored_twice(settings, older_by_ms))
    assert rows_of(store) == {b"s/a": b"1", b"s/b": b"2"}
    assert store.get(FILLED_AT) is not None


def test_a_recent_store_is_carried_on(settings: Settings) -> None:
    store = asyncio.run(restored_twice(settings, KEPT_SECONDS * 1000 - 600_000))
    assert rows_of(store) == {b"s/a": b"1", b"s/b": b"2", GHOST: b"1"}


def test_a_store_is_carried_on_where_the_changelog_was_cut(settings: Settings) -> None:
    """It holds what the changelog no longer does."""

    async def scenario() -> MemoryStore:
        store = await restored_twice(settings, 0)
        changelog = TopicPartition(settings.changelog, 0)
        store.write({FILLED_AT: b"1"})
        await delete_before(settings, changelog, 1)
        await restore(cluster_of(settings), changelog, store, lambda _rows, _left: None)
        return store

    assert rows_of(asyncio.run(scenario())) == {b"s/a": b"1", b"s/b": b"2", GHOST: b"1"}


async def delete_before(settings: Settings, partition: TopicPartition, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        config = {"cleanup.policy": "compact,delete"}  # the broker cuts no other topics
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, partition.topic, configs=config)])
        async with asyncio.timeout(30):
            while True:  # until the broker has seen its new policy
                with suppress(PolicyViolationError):
                    await admin.delete_records({partition: RecordsToDelete(before_offset=offset)})
                    return
                await asyncio.sleep(0.05)
    finally:
        await admin.close()
