"""Writes many records to given partitions, in transactions of a bounded size or without any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced

from streams.kafka.cluster import Producer
from streams.kafka.partitioner import kafka_partition
from streams.kafka.record import MAX_REQUEST_BYTES, MAX_ROW_BYTES, Headers
from streams.kafka.security import cluster_of
from streams.settings.worker import Settings

BATCH_RECORDS = 10_000
BATCH_BYTES = 4 << 20


class FencedError(KafkaError):  # type: ignore[misc]
    """Another run of the same command has started; uncommitted work of this one is aborted."""


@asynccontextmanager
async def producer_of(settings: Settings, transactional_id: str | None) -> AsyncIterator[Producer]:
    """A producer whose start fences the one that had this id before, and settles its open transaction.

    Without an id it writes each record once, and without transactions.
    """
    producer = cluster_of(settings).producer(
        transactional_id=transactional_id,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        retry_backoff_ms=5,
        max_batch_size=MAX_ROW_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
    )
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


class Batches:
    """Collects records and writes them together, in one transaction where the producer has them."""

    def __init__(self, producer: Producer, is_transactional: bool = True, most: int = BATCH_RECORDS) -> None:
        """Write with `producer`; `most` records at once, or fewer when they are large."""
        self._producer, self._is_transactional, self._most = producer, is_transactional, most
        self._rows: list[tuple[str, int | None, bytes | None, bytes | None, Headers, int | None]] = []
        self._bytes = 0

    def add(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
        timestamp: int | None = None,
    ) -> None:
        """Put a record into the batch; its partition follows from the key where none is given."""
        self._rows.append((topic, partition, key, value, headers, timestamp))
        self._bytes += len(key or b"") + len(value or b"") + sum(len(text or b"") for _, text in headers)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self._rows

    @property
    def is_full(self) -> bool:
        """Whether the batch should be written."""
        return len(self._rows) >= self._most or self._bytes >= BATCH_BYTES

    async def commit_if_full(self) -> None:
        """Write the batch when it is full."""
        if self.is_full:
            await self.commit()

    async def commit(self) -> dict[TopicPartition, int]:
        """Write the batch, all or nothing if transactional; returns the last offset written to each partition.

        Raises:
            FencedError: another producer has taken the transactional id.
            KafkaError: the broker refused it.
        """
        rows, self._rows, self._bytes = self._rows, [], 0
        if not rows:
            return {}
        if not self._is_transactional:
            return await self._send(rows)
        try:
            async with self._producer.transaction():
                return await self._send(rows)
        except (ProducerFenced, IllegalOperation) as error:
            raise FencedError("another run of this command, or a worker, has started since") from error

    async def _send(self, rows: list[Any]) -> dict[TopicPartition, int]:
        sent: list[tuple[TopicPartition, int, asyncio.Future[Any]]] = []
        batches: dict[TopicPartition, Any] = {}

        async def send(where: TopicPartition) -> None:
            batch = batches.pop(where)
            count = batch.record_count()
            sent.append((where, count, await self._producer.send_batch(batch, where.topic, partition=where.partition)))

        for topic, partition, key, value, headers, timestamp in rows:
            if partition is None:
                partition = kafka_partition(key or b"", len(await self._producer.partitions_for(topic)))
            where = TopicPartition(topic, partition)
            content = {"key": key, "value": value, "timestamp": timestamp, "headers": list(headers)}
            batch = batches.setdefault(where, None) or self._producer.create_batch()
            batches[where] = batch
            if batch.append(**content) is None:
                await send(where)
                batches[where] = self._producer.create_batch()
                batches[where].append(**content)
        for where in list(batches):
            await send(where)
        return {where: (await answer).offset + count - 1 for where, count, answer in sent}
