"""Gives a command to the running system and waits for what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from aiokafka import TopicPartition

from streams.domain.tenant.commands import SEEN_COMMANDS
from streams.kafka.cluster import Consumer
from streams.kafka.partitioner import kafka_partition
from streams.kafka.reader import partitions_of
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.kafka.unread import UnreadBatch
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import SchemaRegistry

WINDOW: Final = 10_000
"""How many offsets of the audit topic are searched at a time, the newest first."""
MAX_SEARCHED: Final = 500_000
"""Of how many offsets an earlier outcome is searched; the worker itself lets an older command count once."""


class CommandTimeoutError(RuntimeError):
    """No audit record came in time; the command may still be carried out."""


async def submit(
    settings: Settings, registry: SchemaRegistry, command: dict[str, Any], is_new: bool, seconds: float
) -> dict[str, Any]:
    """Write an Avro-shaped command and wait for its audit record.

    A command that is not new may have had its outcome long ago, and is written only where that is not found.

    Raises:
        NoOutcomeError: no outcome within `seconds`.
        TopicError: a topic does not exist.
    """
    commands, audit = AvroCodec("admin_command", registry), AvroCodec("audit_record", registry)
    topic, audit_topic = settings.topic(TOPICS["admin_command"]), settings.topic(TOPICS["audit_record"])
    value, key, command_id = commands.encode(command), command["tenant_id"].encode(), command["command_id"]
    cluster = cluster_of(settings)
    producer = cluster.producer(acks="all", enable_idempotence=True)
    reader = cluster.consumer(
        group_id=None,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    is_given = False
    try:
        await producer.start()
        await reader.start()
        count = len((await partitions_of(cluster, topic, audit_topic))[audit_topic])
        outcomes = _Outcomes(reader, TopicPartition(audit_topic, kafka_partition(key, count)), key, audit)
        async with asyncio.timeout(seconds):
            end = await outcomes.end()
            if not is_new and (known := await outcomes.earlier(command_id, end)) is not None:
                return known
            await producer.send_and_wait(topic, value, key=key)
            is_given = True
            return await outcomes.next(command_id, end)
    except TimeoutError:
        if not is_given:
            said = f"no answer of Kafka within {seconds:g} s: try again with --command-id {command_id}"
            raise CommandTimeoutError(f"{said}, it counts once; a longer --timeout may help") from None
        said = (
            f"no outcome of command {command_id} within {seconds:g} s: does a worker run? "
            f"The command is still pending: ask again with --command-id {command_id}, it counts once"
        )
        raise CommandTimeoutError(said) from None
    finally:
        await producer.stop()
        await reader.stop()


class _Outcomes:
    """The audit records of one tenant, all in one partition; the key tells them apart without decoding."""

    def __init__(self, reader: Consumer, partition: TopicPartition, key: bytes, codec: AvroCodec) -> None:
        self._reader, self._partition, self._key, self._codec = reader, partition, key, codec
        reader.assign([partition])

    async def end(self) -> int:
        """Where the committed records end now."""
        return int((await self._reader.end_offsets([self._partition]))[self._partition])

    async def earlier(self, command_id: str, end: int) -> dict[str, Any] | None:
        """The outcome of a command in front of `end`, None where there is none.

        It ends where the worker itself would have forgotten the command: nothing further back is its outcome.
        """
        begin = int((await self._reader.beginning_offsets([self._partition]))[self._partition])
        oldest, others = max(begin, end - MAX_SEARCHED), 0
        for window_end in range(end, oldest, -WINDOW):
            async for outcome in self._between(max(oldest, window_end - WINDOW), window_end):
                if outcome["command_id"] == command_id:
                    return outcome
                others += 1
            if others >= SEEN_COMMANDS:
                break
        return None

    async def next(self, command_id: str, start: int) -> dict[str, Any]:
        """The outcome of a command at or behind `start`; waits for it."""
        async for outcome in self._between(start, None):
            if outcome["command_id"] == command_id:
                return outcome
        raise AssertionError("the outcomes of a topic have no end")

    async def _between(self, start: int, end: int | None) -> AsyncIterator[dict[str, Any]]:
        reader, partition = self._reader, self._partition
        reader.seek(partition, start)
        while end is None or await reader.position(partition) < end:
            for record in (await reader.getmany(partition, timeout_ms=200)).get(partition, ()):
                if isinstance(record, UnreadBatch):
                    continue  # no worker wrote it
                if record.key == self._key and (end is None or record.offset < end):
                    yield self._codec.decode(record.value)
