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
from streams.errors import DependencyError
from streams.kafka.partitioner import kafka_partition
from streams.kafka.record import Headers
from streams.kafka.shutdown import close_with_timeout
from streams.kafka.transactional.unmarked import undecided_partitions
from streams.kafka.transactional.writer import TransactionalWriter, open_writer

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 2_000
"""Rows that are put into batches before other partitions get their turn."""

Row = tuple[TopicPartition, bytes | None, bytes | None, Headers]
Batch = tuple[TopicPartition, Any]
"""A batch of aiokafka, and where it goes."""


def transactional_id(app_id: str, source: str, partition: int) -> str:
    """The id of a partition's writer; whoever starts a producer with it fences the one before."""
    return f"{app_id}-{source}-{partition}"


class Transactions:
    """Writes units of work; `failpoint` is called with the name of each step."""

    def __init__(self, config: PartitionConfig, partition: int, failpoint: Callable[[str], None]) -> None:
        self._config, self._partition, self._failpoint = config, partition, failpoint
        self._is_open = False
        self._own = TopicPartition(config.changelog, partition)
        self._started: TransactionalWriter | None = None
        self._lost_answers = 0

    async def fence(self) -> None:
        """End the epoch of the previous owner, and settle its last transaction everywhere."""
        config = self._config
        self._started = await open_writer(
            config.cluster,
            f"{config.app_id}-{self._partition}",
            transactional_id(config.app_id, config.source, self._partition),
            config.transaction_timeout_seconds,
            self._own,
            config.outputs,
        )

    @property
    def _writer(self) -> TransactionalWriter:
        if self._started is None:
            raise RuntimeError("the previous owner was not fenced")
        return self._started

    async def begin_changelog(self, rows: Mapping[bytes, bytes]) -> int | None:
        """Write the first rows of the changelog; returns its position as `commit` does."""
        async with self._transaction():
            return await self._write(await self._changelog(rows), {})

    async def commit(
        self, outputs: Sequence[Output], changes: Mapping[bytes, bytes | None], done: Mapping[str, int]
    ) -> int | None:
        """Write outputs, changed state and consumer offsets (last offset done by topic), all or nothing.

        Returns the changelog position after it, or None if the broker did not report it.
        """
        async with self._transaction():
            self._failpoint("begun")
            batches = [*await self._batches(await self._placed(outputs)), *await self._changelog(changes)]
            end = await self._write(batches, done)
            self._failpoint("sent")
        self._failpoint("committed")
        return end

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """Commits at the end of its block; after an error it stays open, for `close` to abort."""
        await self._writer.begin()
        self._is_open = True
        yield
        await self._writer.commit()
        self._is_open = False
        if self._writer.lost_answers > self._lost_answers:
            await self._check_ends()

    async def _check_ends(self) -> None:
        """Look whether brokers that went and came back have left a committed transaction open somewhere.

        Raises:
            DependencyError: they have; the next owner of the partition ends it there, see `open_writer`.
        """
        self._lost_answers = self._writer.lost_answers
        async with self._config.cluster.opened_client() as client:
            undecided = await undecided_partitions(client, self._own, self._config.outputs)
        if undecided:
            first = f"{undecided[0].topic}-{undecided[0].partition}"
            raise DependencyError(
                f"brokers came back, and {len(undecided)} partitions have a transaction without an end, such as "
                f"{first}: what this worker has committed there ends with its next start"
            )

    async def _write(self, batches: Sequence[Batch], done: Mapping[str, int]) -> int | None:
        """Write batches and offsets; returns the offset after the last row of the changelog, where the broker told."""
        offsets = {TopicPartition(topic, self._partition): offset + 1 for topic, offset in done.items()}
        counts = [batch.record_count() for _, batch in batches]
        firsts = await self._writer.write(batches, offsets, self._config.group, lambda: self._failpoint("offsets-sent"))
        logged = [
            (first, count)
            for (where, _), first, count in zip(batches, firsts, counts, strict=True)
            if where == self._own
        ]
        # For a batch that it had already, a broker does not tell.
        if not logged or any(first < 0 for first, _ in logged):
            return None
        return sum(logged[-1])

    async def close(self) -> None:
        """Abort the open transaction, so that readers need not wait for its timeout, and stop."""
        if self._started is None:
            return
        if self._is_open:
            await close_with_timeout(self._started.abort())
        await close_with_timeout(self._started.stop())

    async def _placed(self, outputs: Sequence[Output]) -> Iterable[Row]:
        topics = {row.topic for row in outputs}
        counts = {topic: len(await self._writer.partitions_for(topic)) for topic in topics}
        return ((TopicPartition(row.topic, _partition_of(row.key, counts[row.topic])), *row[1:]) for row in outputs)

    async def _changelog(self, rows: Mapping[bytes, bytes | None] | Mapping[bytes, bytes]) -> list[Batch]:
        return await self._batches((self._own, key, value, ()) for key, value in rows.items())

    async def _batches(self, rows: Iterable[Row]) -> list[Batch]:
        """Rows in as few batches as their size allows."""
        full = list[Batch]()
        batches: dict[TopicPartition, Any] = {}
        for count, (where, key, value, headers) in enumerate(rows, 1):
            batch = batches.get(where)
            if batch is None:
                batch = batches[where] = self._writer.new_batch()
            if batch.append(key=key, value=value, timestamp=None, headers=list(headers)) is None:
                full.append((where, batch))
                batch = batches[where] = self._writer.new_batch()
                batch.append(key=key, value=value, timestamp=None, headers=list(headers))
            if count % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return [*full, *batches.items()]


def _partition_of(key: bytes | None, partitions: int) -> int:
    """The partition of an output; any one where there is no key."""
    if key is None:
        return random.randrange(partitions)  # noqa: S311 - it spreads records
    return kafka_partition(key, partitions)
