"""Sync against a real Kafka: verdicts to disk, events from disk, and topics that are not what they were."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic

from streams.domain.edge import Knowledge
from streams.edge.ports import UnreadableVerdictError
from streams.edge.store.database import VERDICTS_FILE, mark_damaged
from streams.edge.store.spool_reader import SpoolReader
from streams.edge.store.table import VerdictTable
from streams.edge.store.table_layout import COMPLETE_AT
from streams.edge.store.verdicts import VerdictReader
from streams.kafka.partitioner import kafka_partition
from streams.kafka.provisioning import MOST_AWAY_MS, create_topics, delete_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topic_ids import TopicIdentity, identify
from streams.kafka.topics import TopicError
from streams.settings.worker import Settings
from tests.support.edge_files import rows_of, verdict_of
from tests.support.edge_sync import (
    codec_of,
    connection_event,
    event_ids,
    give_signs,
    key_of,
    now_ms,
    polled,
    produce,
    running,
    server_key,
    spool_in,
    sync_of,
    topic_of,
    until,
    verdict_value,
)
from tests.support.waiting import until_true


def is_known(reader: VerdictReader, number: int) -> bool:
    return polled(reader).find(server_key(number)) is not None


def is_unreadable(reader: VerdictReader, number: int) -> bool:
    try:
        polled(reader).find(server_key(number))
    except UnreadableVerdictError:
        return True
    return False


async def make_again(settings: Settings, name: str) -> None:
    """Delete a topic and make it anew; brokers learn of it a little later."""
    topic = topic_of(settings, name)
    async with cluster_of(settings).opened_admin() as admin:
        before = await identify(admin._client, topic)
        await delete_topics(settings, [topic])

        async def is_another() -> bool:
            await create_topics(settings)
            try:
                return await identify(admin._client, topic) != before
            except TopicError:
                return False

        await until_true(is_another)


def test_a_topic_that_is_made_again_has_another_identity(settings: Settings) -> None:
    cluster, topic = cluster_of(settings), topic_of(settings, "verdict")

    async def scenario() -> tuple[TopicIdentity, TopicIdentity]:
        async with cluster.opened_admin() as admin:
            with pytest.raises(TopicError, match="does not exist"):
                await identify(admin._client, topic)
            await create_topics(settings)
            first = await identify(admin._client, topic)
            assert first == await identify(admin._client, topic)
            await make_again(settings, "verdict")
            return first, await identify(admin._client, topic)

    first, again = asyncio.run(scenario())
    assert first.partitions == settings.partitions
    assert len(first.topic_id) == 36
    assert again.cluster_id == first.cluster_id != ""
    assert again.topic_id != first.topic_id
    assert again.source != first.source


def test_verdicts_come_go_and_are_followed_from_where_it_was(settings: Settings, tmp_path: Path) -> None:
    reader = VerdictReader(tmp_path)

    async def scenario() -> None:
        await create_topics(settings)
        rows = {key_of(number): verdict_value(number) for number in range(20)}
        rows[key_of(3)] = verdict_value(3, throttle_minutes_per_hour=0, action="ACCEPT")
        await produce(settings, "verdict", dict(rows))
        async with running(sync_of(settings, tmp_path)) as sync:
            await until(lambda: is_known(reader, 19))
            assert not is_known(reader, 3)
            found = reader.find(server_key(5))
            assert found is not None
            assert (found.revision, found.throttle_minutes_per_hour) == (1, 10)
            # The workers have not spoken yet.
            assert reader.knowledge == Knowledge(None)
            began = now_ms()
            await give_signs(settings)
            await until(lambda: (polled(reader).knowledge.confirmed_at or 0) >= began)
            assert (reader.knowledge.confirmed_at or 0) <= now_ms()
            changes: dict[bytes, bytes | None] = {key_of(5): None, key_of(6): verdict_value(6, 2), key_of(7): b"\0no"}
            changes[key_of(8)] = verdict_value(9)
            await produce(settings, "verdict", changes)
            await until(lambda: is_unreadable(reader, 8))
            assert not is_known(reader, 5)
            assert is_unreadable(reader, 7)
            sixth = reader.find(server_key(6))
            assert sixth is not None
            assert sixth.revision == 2
            assert is_known(reader, 9)
            assert sync.status().unreadable["verdicts"] == 2
            assert sync.status().records == 24
        confirmed = polled(reader).knowledge
        await produce(settings, "verdict", {key_of(30): verdict_value(30)})
        async with running(sync_of(settings, tmp_path)) as sync:
            assert polled(reader).knowledge == confirmed
            assert is_known(reader, 6)
            await until(lambda: is_known(reader, 30))
            assert sync.status().records == 1

    asyncio.run(scenario())


def test_a_topic_that_is_made_again_is_read_anew(settings: Settings, tmp_path: Path) -> None:
    reader = VerdictReader(tmp_path)

    async def scenario() -> None:
        await create_topics(settings)
        await produce(settings, "verdict", {key_of(number): verdict_value(number) for number in range(5)})
        await give_signs(settings)
        async with running(sync_of(settings, tmp_path)):
            await until(lambda: polled(reader).knowledge.confirmed_at is not None)
            assert is_known(reader, 4)
            await make_again(settings, "verdict")
            # As many as before, so that the position alone would tell nothing.
            await produce(settings, "verdict", {key_of(number): verdict_value(number) for number in range(10, 16)})
            await until(lambda: is_known(reader, 10) and is_known(reader, 15) and not is_known(reader, 4))
            await until(lambda: polled(reader).knowledge.confirmed_at is not None)

    asyncio.run(scenario())


def test_who_was_away_for_long_notices_what_was_deleted_meanwhile(settings: Settings, tmp_path: Path) -> None:
    reader = VerdictReader(tmp_path)

    async def scenario() -> None:
        await create_topics(settings)
        await produce(settings, "verdict", {key_of(1): verdict_value(1)})
        async with running(sync_of(settings, tmp_path)):
            await until(lambda: is_known(reader, 1))
        table = VerdictTable(tmp_path)
        table.open()
        # Of a verdict whose tombstone is gone from the topic, and of an absence as long as it takes.
        table.write(rows_of([verdict_of(2)]), {}, is_loading=False)
        table.set_status({COMPLETE_AT: now_ms() - MOST_AWAY_MS - 1000})
        table.close()
        async with running(sync_of(settings, tmp_path)):
            assert is_known(reader, 2)
            await until(lambda: not is_known(reader, 2))
            assert is_known(reader, 1)

    asyncio.run(scenario())


def test_a_table_that_is_damaged_meanwhile_is_read_anew(settings: Settings, tmp_path: Path) -> None:
    reader = VerdictReader(tmp_path)

    async def scenario() -> None:
        await create_topics(settings)
        await produce(settings, "verdict", {key_of(1): verdict_value(1)})
        await produce(settings, "connector", {b"contoso/c1": connector_value()})
        await give_signs(settings)
        async with running(sync_of(settings, tmp_path)):
            await until(lambda: polled(reader).knowledge.confirmed_at is not None and is_known(reader, 1))
            await until(lambda: polled(reader).connectors())
            version = reader.connectors_version
            mark_damaged(tmp_path / VERDICTS_FILE)
            await until(lambda: list(tmp_path.glob("*.damaged-*")))
            await until(lambda: polled(reader).knowledge.confirmed_at is not None and is_known(reader, 1))
            await until(lambda: polled(reader).connectors())
            assert reader.connectors_version > version

    asyncio.run(scenario())


def connector_value(cidr: str = "192.0.2.0/24") -> bytes:
    record = {"tenant_id": "contoso", "connector_id": "c1", "type": "ON_PREMISES", "cidrs": [cidr]}
    return codec_of("connector").encode({**record, "published_at": 1, "published_by": "anna"})


def test_connectors_come_and_go(settings: Settings, tmp_path: Path) -> None:
    reader = VerdictReader(tmp_path)

    def cidrs() -> list[str]:
        return [cidr for value in polled(reader).connectors() for cidr in json.loads(value)["cidrs"]]

    async def scenario() -> None:
        await create_topics(settings)
        await produce(
            settings, "connector", {b"contoso/c1": connector_value(), b"contoso/c2": connector_value("::/64")}
        )
        async with running(sync_of(settings, tmp_path)) as sync:
            await until(lambda: cidrs() == ["192.0.2.0/24", "::/64"])
            await produce(settings, "connector", {b"contoso/c1": b"\0no", b"contoso/c2": None})
            await until(lambda: cidrs() == ["192.0.2.0/24"])
            assert sync.status().unreadable["connectors"] == 1
        await produce(settings, "connector", {b"contoso/c3": connector_value("198.51.100.0/24")})
        async with running(sync_of(settings, tmp_path)):
            await until(lambda: cidrs() == ["192.0.2.0/24", "198.51.100.0/24"])

    asyncio.run(scenario())


def test_events_are_delivered_and_then_removed(settings: Settings, tmp_path: Path) -> None:
    tenants = [f"tenant-{number}" for number in range(10)]

    async def scenario() -> None:
        await create_topics(settings)
        spool = spool_in(tmp_path)
        for number in range(500):
            assert spool.append(connection_event(number, tenants[number % 10]), b"client")
        async with running(sync_of(settings, tmp_path)) as sync:
            await until(lambda: spool.waiting() == (0, 0))
            assert spool.append(connection_event(500), b"client")
            await until(lambda: spool.waiting() == (0, 0))
            assert sync.status().delivered == 501
            assert sync.status().clock_skew < 60_000
        codec = codec_of("inbound_connection")
        topic = topic_of(settings, "inbound_connection")
        records = [record async for record in read_settled(cluster_of(settings), topic)]
        assert Counter(codec.decode(record.value)["event_id"] for record in records) == Counter(
            f"event-{number}" for number in range(501)
        )
        for record in records:
            assert record.partition == kafka_partition(record.key, settings.partitions)
            assert codec.decode(record.value)["tenant_id"].encode() == record.key
        of_one = [codec.decode(record.value)["event_id"] for record in records if record.key == b"tenant-4"]
        assert of_one == [f"event-{number}" for number in range(4, 500, 10)]

    asyncio.run(scenario())


def test_an_event_that_kafka_refuses_does_not_stop_the_others(settings: Settings, tmp_path: Path) -> None:
    async def scenario() -> None:
        # Made with the limit: one that is set later holds only once the broker has heard of it.
        async with cluster_of(settings).opened_admin() as admin:
            topic, limit = topic_of(settings, "inbound_connection"), {"max.message.bytes": "20000"}
            await admin.create_topics([NewTopic(topic, settings.partitions, 1, topic_configs=limit)])
        await create_topics(settings)
        spool = spool_in(tmp_path)
        for number in range(300):
            assert spool.append(connection_event(number, size=50_000 if number == 100 else 10), b"client")
        assert spool.append(connection_event(300)._replace(body=b"none"), b"client")
        async with running(sync_of(settings, tmp_path)) as sync:
            await until(lambda: spool.waiting() == (0, 0))
            await until(lambda: sync.status().rejected == 2)
        assert set(await event_ids(settings)) == {f"event-{number}" for number in range(300) if number != 100}
        assert SpoolReader(tmp_path).rejected() == 2

    asyncio.run(scenario())


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from streams.edge.store.spool_reader import SpoolReader
from streams.settings.worker import Settings
from tests.support.edge_sync import sync_of
SpoolReader.remove = lambda self, seqs: os.kill(os.getpid(), signal.SIGKILL)
settings = Settings(bootstrap=sys.argv[1], topic_prefix=sys.argv[2])
asyncio.run(sync_of(settings, Path(sys.argv[3])).run())
"""


def test_a_kill_between_acknowledgement_and_removal_only_repeats(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(create_topics(settings))
    spool = spool_in(tmp_path)
    for number in range(50):
        assert spool.append(connection_event(number), b"client")
    command = [sys.executable, "-c", KILLED, settings.bootstrap, settings.topic_prefix, str(tmp_path)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    assert spool.waiting()[0] == 50

    async def scenario() -> None:
        async with running(sync_of(settings, tmp_path)):
            await until(lambda: spool.waiting() == (0, 0))
        assert Counter(await event_ids(settings)) == Counter({f"event-{number}": 2 for number in range(50)})

    asyncio.run(scenario())
