"""The outcomes of commands, as the audit topic has them: those that are waited for, and earlier ones."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiokafka import TopicPartition

from streams.domain.tenant.apply import SEEN_COMMANDS
from streams.domain.tenant.audit import AuditRecord
from streams.kafka.cluster import Cluster, Consumer
from streams.kafka.partitioner import kafka_partition
from streams.kafka.reader import open_consumer, partitions_of
from streams.wire.audit import audit_of_record
from streams.wire.codec import AvroCodec

log = logging.getLogger(__name__)

WINDOW: Final = 10_000
"""How many offsets of the audit topic are searched at a time, the newest first."""
MAX_SEARCHED: Final = 500_000
"""Of how many offsets an earlier outcome is searched; the worker itself lets an older command count once."""


def parse_outcome(codec: AvroCodec, record: Any) -> AuditRecord | None:
    """The audit record in a record of its topic; None, with a line in the log, where it is none.

    A command whose outcome is waited for may have been carried out: a foreign record beside it says nothing about it.
    """
    try:
        return audit_of_record(codec.decode(record.value))
    except ValueError as error:
        log.warning("%s: offset %d is not an audit record: %s: skipped", record.topic, record.offset, error)
        return None


class PendingOutcomes:
    """Who waits for the outcome of which command; records of other tenants are not decoded."""

    def __init__(self, codec: AvroCodec) -> None:
        self._codec = codec
        self._waiting: defaultdict[tuple[bytes, str], list[asyncio.Future[AuditRecord]]] = defaultdict(list)
        self._tenants = Counter[bytes]()

    @contextmanager
    def expect(self, tenant: bytes, command_id: str) -> Iterator[asyncio.Future[AuditRecord]]:
        """The outcome of a command to come, looked out for until the end of the block."""
        future = asyncio.get_running_loop().create_future()
        waiting = self._waiting[tenant, command_id]
        waiting.append(future)
        self._tenants[tenant] += 1
        try:
            yield future
        finally:
            if not future.cancel() and not future.cancelled():
                future.exception()  # it may have failed while its owner was busy, and is not told of otherwise
            waiting.remove(future)
            if not waiting:
                del self._waiting[tenant, command_id]
            self._tenants[tenant] -= 1
            if not self._tenants[tenant]:
                del self._tenants[tenant]

    async def take(self, records: Iterable[Any]) -> None:
        """Hand outcomes to those who wait for them; decoded in a thread, as for an unknown schema a registry is asked.

        Raises:
            RegistryError: it did not answer.
        """
        wanted = [record for record in records if record.key in self._tenants]
        if not wanted:
            return
        for record, audit in zip(wanted, await asyncio.to_thread(self._decode, wanted), strict=True):
            if audit is None:
                continue
            for future in self._waiting.get((record.key, audit.command_id or ""), ()):
                if not future.done():
                    future.set_result(audit)

    def _decode(self, records: Iterable[Any]) -> list[AuditRecord | None]:
        return [parse_outcome(self._codec, record) for record in records]

    def fail(self, error: BaseException) -> None:
        """Let everyone who waits fail."""
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)


async def find_outcome(
    cluster: Cluster, topic: str, codec: AvroCodec, tenant: bytes, command_id: str
) -> AuditRecord | None:
    """The outcome that a command had, None where it is not found.

    The search ends where the worker itself would have forgotten the command: nothing further back is its outcome.

    Raises:
        TopicError: the topic does not exist.
    """
    count = len((await partitions_of(cluster, topic))[topic])
    partition = TopicPartition(topic, kafka_partition(tenant, count))
    consumer = open_consumer(cluster)
    try:
        await consumer.start()
        consumer.assign([partition])
        end = int((await consumer.end_offsets([partition]))[partition])
        begin = int((await consumer.beginning_offsets([partition]))[partition])
        oldest, others = max(begin, end - MAX_SEARCHED), 0
        for window_end in range(end, oldest, -WINDOW):
            async for record in _between(consumer, partition, max(oldest, window_end - WINDOW), window_end):
                if record.key != tenant:
                    continue
                audit = await asyncio.to_thread(parse_outcome, codec, record)  # it may ask a registry
                if audit is None:
                    continue
                if audit.command_id == command_id:
                    return audit
                others += 1
            if others >= SEEN_COMMANDS:
                break
    finally:
        await consumer.stop()
    return None


async def _between(consumer: Consumer, partition: TopicPartition, start: int, end: int) -> AsyncIterator[Any]:
    consumer.seek(partition, start)
    while await consumer.position(partition) < end:
        for record in (await consumer.getmany(partition, timeout_ms=200)).get(partition, ()):
            if record.offset < end:
                yield record
