"""Records that a producer's transaction aborted are no input; those that it committed are."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streams.domain.time import DAY_MS
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import Collected, collect, run_workers
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.records import command_record, connection_record
from streams.wire.registry import LocalRegistry
from tests.support.feeds import START
from tests.support.live import line, pause


@pytest.mark.timeout(120)
def test_only_committed_records_are_processed(settings: Settings) -> None:
    async def scenario() -> Collected:
        await create_topics(settings)
        connections = AvroCodec("inbound_connection", LocalRegistry())
        commands = AvroCodec("admin_command", LocalRegistry())
        async with cluster_of(settings).producer(transactional_id=f"{settings.topic_prefix}bus") as producer:
            for server, is_good in ((1, True), (2, False), (3, True), (4, False)):
                await producer.begin_transaction()
                key = f"tenant-{server}".encode()
                value = connections.encode(connection_record(line(server, START)))
                await producer.send_and_wait(settings.topic(TOPICS["inbound_connection"]), value, key=key)
                value = commands.encode(command_record(pause(server)))
                await producer.send_and_wait(settings.topic(TOPICS["admin_command"]), value, key=key)
                await (producer.commit_transaction() if is_good else producer.abort_transaction())
        await run_workers(settings, START + 2 * DAY_MS, 1)
        return await collect(settings)

    found = asyncio.run(scenario())
    assert {row["server"] for row in found.servers.values()} == {"mx1.example.com", "mx3.example.com"}
    assert {row["command_id"] for row in found.audit} == {"1", "3"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("held", ["inbound_connection", "admin_command"])
def test_an_open_transaction_holds_up_nothing_before_it(settings: Settings, held: str) -> None:
    settings = replace(settings, partitions=1)

    async def scenario() -> Collected:
        await create_topics(settings)
        connections = AvroCodec("inbound_connection", LocalRegistry())
        source = settings.topic(TOPICS["inbound_connection"])
        async with cluster_of(settings).producer(
            transactional_id=f"{settings.topic_prefix}bus", transaction_timeout_ms=600_000
        ) as producer:
            for server, topic in ((1, source), (2, settings.topic(TOPICS[held]))):
                await producer.begin_transaction()
                value = connections.encode(connection_record(line(server, START)))
                await producer.send_and_wait(topic, value, key=b"tenant-%d" % server, partition=0)
                if server == 1:
                    await producer.commit_transaction()
            # A replay ends when every partition is at its end and its timers have fired.
            await run_workers(settings, START + 2 * DAY_MS, 1)
            await producer.abort_transaction()
        return await collect(settings)

    found = asyncio.run(scenario())
    assert {row["server"] for row in found.servers.values()} == {"mx1.example.com"}
