"""Gives a command to the running system and waits for what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

from streams.adapters.avro_codec import AvroCodec
from streams.adapters.kafka_security import cluster_of
from streams.adapters.schemas import TOPICS, SchemaRegistry
from streams.adapters.topic_reader import partitions_of
from streams.settings import Settings


class NoOutcomeError(RuntimeError):
    """No audit record came in time; the command may still be carried out."""


async def give(
    settings: Settings, registry: SchemaRegistry, command: dict[str, Any], is_new: bool, seconds: float
) -> dict[str, Any]:
    """Write an Avro-shaped command and wait for its audit record.

    A command that is not new may have had its outcome long ago: the audit topic is read from its beginning then.

    Raises:
        NoOutcomeError: no outcome within `seconds`.
        TopicError: a topic does not exist.
    """
    commands, audit = AvroCodec("admin_command", registry), AvroCodec("audit_record", registry)
    topic, audit_topic = settings.topic(TOPICS["admin_command"]), settings.topic(TOPICS["audit_record"])
    value = commands.encode(command)
    cluster = cluster_of(settings)
    producer = cluster.producer(acks="all", enable_idempotence=True)
    reader = cluster.consumer(isolation_level="read_committed", enable_auto_commit=False, fetch_max_wait_ms=100)
    try:
        await producer.start()
        await reader.start()
        partitions = (await partitions_of(cluster, topic, audit_topic))[audit_topic]
        reader.assign(partitions)
        await (reader.seek_to_end(*partitions) if is_new else reader.seek_to_beginning(*partitions))
        for partition in partitions:
            await reader.position(partition)
        await producer.send_and_wait(topic, value, key=command["tenant_id"].encode())
        async with asyncio.timeout(seconds):
            while True:
                for records in (await reader.getmany(timeout_ms=200)).values():
                    for record in records:
                        found = audit.decode(record.value)
                        mine = (command["command_id"], command["tenant_id"])
                        if (found["command_id"], found["tenant_id"]) == mine:
                            return found
    except TimeoutError:
        said = (
            f"no outcome of command {command['command_id']} within {seconds:g} s: does a worker run? "
            f"The command is still pending: ask again with --command-id {command['command_id']}, it counts once"
        )
        raise NoOutcomeError(said) from None
    finally:
        await producer.stop()
        await reader.stop()
