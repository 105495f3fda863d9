"""The partition's transactional producer: one transaction per unit of work."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition

from streams.engine.config import PartitionConfig
from streams.engine.ports import Output
from streams.kafka.partitioner import kafka_partition
from streams.kafka.record import MAX_REQUEST_BYTES, MAX_ROW_BYTES, Headers
from streams.kafka.shutdown import close_with_timeout

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 2_000
"""Rows that are put into batches before other partitions get their turn."""

Target = tuple[str, int]
Sent = tuple[asyncio.Future[Any], int]
"""The broker's answer to a batch, and how many rows it has."""


def transactional_id(app_id: str, source: str, partition: int) -> str:
    """The id of a partition's writer; whoever starts a producer with it fences the one before."""
    return f"{app_id}-{source}-{partition}"


class Transactions:
    """Writes units of work; `failpoint` is called with the name of each step."""

    def __init__(self, config: PartitionConfig, partition: int, failpoint: Callable[[str], None]) -> None:
        self._config, self._partition, self._failpoint = config, partition, failpoint
        self._is_open = False
        self._producer = config.cluster.producer(
            client_id=f"{config.app_id}-{partition}",
            transactional_id=transactional_id(config.app_id, config.source, partition),
            acks="all",
            linger_ms=0,
            # A transaction waits this long for each step that the coordinator has not finished.
            retry_backoff_ms=2,
            max_batch_size=MAX_ROW_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            transaction_timeout_ms=round(config.transaction_timeout_seconds * 1000),
        )

    async def fence(self) -> None:
        """End the epoch of the previous owner, and settle its open transaction."""
        await self._producer.start()

    async def begin_changelog(self, rows: Mapping[bytes, bytes]) -> int | None:
        """Write the first rows of the changelog; returns its position as `commit` does."""
        async with self._transaction():
            logged = await self._send_rows(rows)
            await asyncio.gather(*(answer for answer, _ in logged))
        return _end(logged)

    async def commit(
        self, outputs: Sequence[Output], changes: Mapping[bytes, bytes | None], done: Mapping[str, int]
    ) -> int | None:
        """Write outputs, changed state and consumer offsets (last offset done by topic), all or nothing.

        Returns the changelog position after it, or None if the broker did not report it.
        """
        async with self._transaction():
            self._failpoint("begun")
            sent = await self._send(await self._placed(outputs))
            logged = await self._send_rows(changes)
            # The coordinator takes the offsets while the brokers write the batches.
            await asyncio.gather(*(answer for answer, _ in (*sent, *logged)), self._send_offsets(done))
            self._failpoint("sent")
        self._failpoint("committed")
        return _end(logged)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """Commits at the end of its block; after an error it stays open, for `close` to abort."""
        await self._producer.begin_transaction()
        self._is_open = True
        yield
        await self._producer.commit_transaction()
        self._is_open = False

    async def _send_rows(self, rows: Mapping[bytes, bytes | None] | Mapping[bytes, bytes]) -> list[Sent]:
        target = (self._config.changelog, self._partition)
        return await self._send((target, key, value, ()) for key, value in rows.items())

    async def _send_offsets(self, done: Mapping[str, int]) -> None:
        if not done:
            return
        offsets = {TopicPartition(topic, self._partition): offset + 1 for topic, offset in done.items()}
        await self._producer.send_offsets_to_transaction(offsets, self._config.group)
        self._failpoint("offsets-sent")

    async def close(self) -> None:
        """Abort the open transaction, so that readers need not wait for its timeout, and stop."""
        if self._is_open:
            await close_with_timeout(self._producer.abort_transaction())
        await close_with_timeout(self._producer.stop())

    async def _placed(self, outputs: Sequence[Output]) -> Iterable[tuple[Target, bytes | None, bytes | None, Headers]]:
        topics = {row.topic for row in outputs}
        counts = {topic: len(await self._producer.partitions_for(topic)) for topic in topics}
        return (((row.topic, _partition_of(row.key, counts[row.topic])), *row[1:]) for row in outputs)

    async def _send(self, rows: Iterable[tuple[Target, bytes | None, bytes | None, Headers]]) -> list[Sent]:
        """Put rows into as few batches as their size allows, and send these."""
        producer, sent = self._producer, list[Sent]()
        batches: dict[Target, Any] = {}
        for count, (target, key, value, headers) in enumerate(rows, 1):
            batch = batches.get(target)
            if batch is None:
                batch = batches[target] = producer.create_batch()
            if batch.append(key=key, value=value, timestamp=None, headers=list(headers)) is None:
                sent.append(await self._send_batch(target, batch))
                batch = batches[target] = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=list(headers))
            if count % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        for target, batch in batches.items():
            sent.append(await self._send_batch(target, batch))
        return sent

    async def _send_batch(self, target: Target, batch: Any) -> Sent:
        rows = batch.record_count()
        return await self._producer.send_batch(batch, target[0], partition=target[1]), rows


def _end(logged: Sequence[Sent]) -> int | None:
    """The offset after the last row; None where the broker did not tell, as for a batch that it had already."""
    ends = [(answer.result().offset, rows) for answer, rows in logged]
    if not ends or any(offset < 0 for offset, _ in ends):
        return None
    return int(ends[-1][0]) + ends[-1][1]


def _partition_of(key: bytes | None, partitions: int) -> int:
    """The partition of an output; any one where there is no key."""
    if key is None:
        return random.randrange(partitions)  # noqa: S311 - it spreads records
    return kafka_partition(key, partitions)
