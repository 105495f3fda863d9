"""Submits commands to the running system, and waits for their outcomes."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final, Self

from streams.domain.tenant.audit import AuditRecord
from streams.kafka.cluster import Cluster, Producer
from streams.kafka.follower import KafkaLog, TopicFollower
from streams.kafka.reader import partitions_of
from streams.kafka.security import cluster_of
from streams.kafka.shutdown import cancel_and_wait, close_with_timeout
from streams.kafka.topics import TOPICS
from streams.operations.outcomes import PendingOutcomes, find_outcome
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import SchemaRegistry

MAX_PENDING: Final = 1_000
"""How many commands of a client may wait for their outcomes; those behind them wait to be sent."""


class CommandTimeoutError(RuntimeError):
    """Timed out waiting for the audit record; a command that `is_sent` may still be carried out."""

    def __init__(self, message: str, *, is_sent: bool) -> None:
        super().__init__(message)
        self.is_sent = is_sent


class CommandClient:
    """Submits commands, many at a time, with one producer and one reader of the audit topic.

    The reader begins at the topic's end, so every outcome of a command that is sent behind it is seen. Where it fails,
    those who wait fail with it, and the next command begins another one.
    """

    def __init__(self, cluster: Cluster, topic: str, audit_topic: str, commands: AvroCodec, audit: AvroCodec) -> None:
        """Submit to `topic`, and read outcomes from `audit_topic`."""
        self._cluster, self._topic, self._audit_topic = cluster, topic, audit_topic
        self._commands, self._audit = commands, audit
        self._producer: Producer | None = None
        self._pending = PendingOutcomes(audit)
        self._slots = asyncio.Semaphore(MAX_PENDING)
        self._starting = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            TopicError: a topic does not exist.
            KafkaError: the cluster did not answer.
            DependencyError: the schema registry did not answer.
        """
        self._producer = self._cluster.producer(acks="all", enable_idempotence=True)
        try:
            await self._producer.start()
            await partitions_of(self._cluster, self._topic, self._audit_topic)
            # A registry is asked by a call that blocks; the id is known from then on.
            await asyncio.to_thread(self._commands.learn_id)
            await self._require_reader()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Disconnect; a command that waits for its outcome is no longer waited for."""
        if self._reader is not None:
            await cancel_and_wait(self._reader)
        if self._producer is not None:
            await self._producer.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def submit(self, command: dict[str, Any], seconds: float, *, is_new: bool = True) -> AuditRecord:
        """Send an Avro-shaped command, and wait for its audit record.

        A command that is not new may have had its outcome long ago, and is sent only where that is not found.

        Raises:
            CommandTimeoutError: no outcome within `seconds`.
            RecordEncodingError: it is no command; nothing is sent.
            KafkaError: the cluster failed; the command may still be carried out.
        """
        value, key, command_id = self._commands.encode(command), command["tenant_id"].encode(), command["command_id"]
        assert self._producer is not None, "start comes first"
        is_sent = False
        try:
            async with asyncio.timeout(seconds), self._slots:
                await self._require_reader()
                with self._pending.expect(key, command_id) as outcome:
                    if not is_new:
                        known = await find_outcome(self._cluster, self._audit_topic, self._audit, key, command_id)
                        if known is not None:
                            return known
                    if not outcome.done():
                        await self._producer.send_and_wait(self._topic, value, key=key)
                        is_sent = True
                    return await outcome
        except TimeoutError:
            raise CommandTimeoutError(_explain(command_id, seconds, is_sent=is_sent), is_sent=is_sent) from None

    async def _require_reader(self) -> None:
        """See to it that outcomes are read from the topic's end, or from further back, on."""
        async with self._starting:
            if self._reader is None or self._reader.done():
                follower = TopicFollower(KafkaLog(self._cluster, [self._audit_topic], from_end=True))
                await follower.start()
                self._reader = asyncio.create_task(self._read(follower))

    async def _read(self, follower: TopicFollower) -> None:
        try:
            while True:
                await self._pending.take(await follower.poll())
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - whoever waits for an outcome gets it
            self._pending.fail(error)
        finally:
            await close_with_timeout(follower.stop())


def _explain(command_id: str, seconds: float, *, is_sent: bool) -> str:
    if is_sent:
        return (
            f"no outcome of command {command_id} within {seconds:g} s: is a worker running? "
            f"The command is still pending: retry with --command-id {command_id}, it takes effect once"
        )
    said = f"no response from Kafka within {seconds:g} s: retry with --command-id {command_id}"
    return f"{said}, it takes effect once; a longer --timeout may help"


def command_client(settings: Settings | ReportSettings, registry: SchemaRegistry) -> CommandClient:
    """A client for the cluster of the settings; it is not started."""
    return CommandClient(
        cluster_of(settings),
        settings.topic(TOPICS["admin_command"]),
        settings.topic(TOPICS["audit_record"]),
        AvroCodec("admin_command", registry),
        AvroCodec("audit_record", registry),
    )
