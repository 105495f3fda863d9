"""Producers with another partitioner, or with schemas that nobody registered, beside a steady one."""

from __future__ import annotations

import asyncio
import json
import signal
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from streams.kafka.partitioner import kafka_partition
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import produce_feed, start_worker
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.records import command_record, connection_record
from streams.wire.registry import UNKNOWN_ASKED, LocalRegistry
from tests.support.live import line, now_ms, until_found
from tests.support.registry_server import RegistryServer

CONNECTIONS, COMMANDS = TOPICS["inbound_connection"], TOPICS["admin_command"]
FLOOD = 3_000


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    worker = await start_worker(settings, None)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0


def split_tenant(partitions: int) -> int:
    """A server's number whose tenant librdkafka's default puts elsewhere than Kafka's."""
    for server in range(5):
        key = b"tenant-%d" % server
        if zlib.crc32(key) % partitions != kafka_partition(key, partitions):
            return server
    raise AssertionError("none")


@pytest.mark.timeout(150)
def test_a_producer_with_another_partitioner_is_told_and_its_records_can_be_replayed(
    settings: Settings,
    tes: Any,
) -> None:
    settings = replace(settings, tick_seconds=0.2)
    server = split_tenant(settings.partitions)
    key = b"tenant-%d" % server
    wrong, right = zlib.crc32(key) % settings.partitions, kafka_partition(key, settings.partitions)
    command = {
        "command_id": "astray",
        "tenant_id": key.decode(),
        "issued_at": "2026-06-02T00:00:00Z",
        "role": "OPERATOR",
        "kind": "PAUSE_CREATE",
        "days": 1,
    }

    async def send() -> None:
        await create_topics(settings)
        connections, commands = (AvroCodec(name, LocalRegistry()) for name in ("inbound_connection", "admin_command"))
        async with cluster_of(settings).producer() as producer:
            value = connections.encode(connection_record(line(server, now_ms())))
            await producer.send_and_wait(settings.topic(CONNECTIONS), value, key=key, partition=wrong)
            value = commands.encode(command_record(json.dumps(command).encode()))
            await producer.send_and_wait(settings.topic(COMMANDS), value, key=key, partition=wrong)

    def letters() -> list[dict[str, Any]]:
        code, out, _ = tes("dlq", "list", "--jsonl")
        assert code == 0
        return [json.loads(row) for row in out.splitlines()]

    with asyncio.Runner() as runner:
        runner.run(send())
        worker = runner.run(start_worker(settings, None))
        try:
            found = runner.run(until_found(settings, lambda found: len(found.dead_letters) == 2))
            assert (found.verdicts, found.audit) == ([], [])
            assert {row["origin"]["source.partition"] for row in letters()} == {str(wrong)}
            for row in letters():
                assert (
                    f"MisplacedRecordError: partition: {wrong} of {settings.partitions} as librdkafka's" in row["error"]
                )
                assert f"belongs in partition {right}" in row["error"]
                assert "partitioner=murmur2_random" in row["error"]
            assert tes("dlq", "redrive", "--error", "MisplacedRecordError")[0] == 0
            found = runner.run(until_found(settings, lambda found: bool(found.verdicts and found.audit)))
            assert {row["tenant_id"] for row in (*found.verdicts, *found.audit)} == {key.decode()}
            assert len(found.dead_letters) == 2
        finally:
            worker.send_signal(signal.SIGTERM)
            assert runner.run(worker.wait()) == 0


@pytest.mark.timeout(150)
def test_a_flood_of_unknown_schema_ids_holds_nobody_up_and_asks_the_registry_little(settings: Settings) -> None:
    """All in one partition, each record with an id of its own."""
    with RegistryServer() as server:
        settings = replace(settings, partitions=1, tick_seconds=0.2, schema_registry_url=server.url)

        async def scenario() -> None:
            await create_topics(settings)
            async with cluster_of(settings).producer() as producer:
                topic = settings.topic(CONNECTIONS)
                for number in range(FLOOD):
                    value = b"\0" + (100_000 + number).to_bytes(4, "big") + b"\x02"
                    await producer.send(topic, value, key=b"tenant-2")
                await producer.flush()
            server.answers[100_000], server.answers[100_001] = (400, b""), (422, b"{}")
            async with running(settings):
                await produce_feed(settings, [line(1, now_ms())])
                found = await until_found(
                    settings, lambda found: len(found.verdicts) == 1 and len(found.dead_letters) == FLOOD
                )
            assert {row["tenant_id"] for row in found.verdicts} == {"tenant-1"}

        asyncio.run(scenario())
        unknown = [schema_id for schema_id in server.asked if schema_id >= 100_000]
        assert 1 <= len(unknown) <= 3 * UNKNOWN_ASKED  # a minute or two of a busy machine
        assert len(set(unknown)) == len(unknown)
