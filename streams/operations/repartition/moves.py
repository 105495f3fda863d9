"""What is moved to topics with another partition count, record by record, each with the place after it.

A place is JSON. A move that goes on from the place of its last transaction gives exactly the records behind it.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from streams.engine.ports import StateStore
from streams.kafka.cluster import Cluster
from streams.kafka.partitioner import kafka_partition
from streams.kafka.reader import read_partitions
from streams.kafka.record import Headers
from streams.operations.group import TopicContentError
from streams.state.inspect import tenant_of

Place = Any


class Moved(NamedTuple):
    """A record where it belongs; its topic is that of the move."""

    key: bytes | None
    value: bytes | None
    partition: int
    headers: Headers = ()
    timestamp: int | None = None


Move = Callable[[Place], AsyncIterator[tuple[Place, Moved]]]
"""Gives what is behind a place, None for all of it."""


def copy_of(
    cluster: Cluster,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    count: int,
) -> Move:
    """A topic, one partition after the other: what one key has stays in order."""

    async def move(place: Place) -> AsyncIterator[tuple[Place, Moved]]:
        place = dict(place or {})
        for where in sorted(starts):
            start = place.get(str(where.partition), starts[where])
            if start >= ends[where]:
                continue
            async for record in read_partitions(cluster, {where: start}, {where: ends[where]}, needs_all=True):
                place[str(where.partition)] = record.offset + 1
                yield place, moved(record, count)

    return move


def merge_of(
    cluster: Cluster,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    count: int,
    timestamp_of: Callable[[Any], int],
) -> Move:
    """An input, its partitions merged by the moments of their records.

    A partition of the new topic gets records of several old ones. One after the other they would make the clock of the
    partition run ahead, and every record of the next one would be late.
    """

    async def move(place: Place) -> AsyncIterator[tuple[Place, Moved]]:
        place = dict(place or {})
        rows = {
            where: read_partitions(cluster, {where: start}, {where: ends[where]}, needs_all=True)
            for where in sorted(starts)
            if (start := place.get(str(where.partition), starts[where])) < ends[where]
        }
        heads: list[tuple[int, TopicPartition, Any]] = []

        async def push(where: TopicPartition) -> None:
            record = await anext(rows[where], None)
            if record is not None:
                heapq.heappush(heads, (timestamp_of(record), where, record))

        try:
            for where in rows:
                await push(where)
            while heads:
                _, where, record = heapq.heappop(heads)
                place[str(where.partition)] = record.offset + 1
                yield place, moved(record, count)
                await push(where)
        finally:
            for reader in rows.values():
                await reader.aclose()  # type: ignore[attr-defined]

    return move


def states_of(stores: Sequence[StateStore], count: int) -> Move:
    """The rows of all tenants, one partition after the other."""

    async def move(place: Place) -> AsyncIterator[tuple[Place, Moved]]:
        first, after = (place["partition"], bytes.fromhex(place["after"])) if place else (0, b"")
        for partition in range(first, len(stores)):
            for key, value in tenant_rows(stores[partition], partition, len(stores)):
                if partition == first and key <= after:
                    continue
                tenant_id = tenant_of(key) or ""
                yield (
                    {"partition": partition, "after": key.hex()},
                    Moved(key, value, kafka_partition(tenant_id.encode(), count)),
                )

    return move


def tenant_rows(store: StateStore, partition: int, count: int) -> Any:
    """The rows of tenants in a partition's state.

    Raises:
        TopicContentError: a tenant's state is not where Kafka's default partitioner puts its records.
        StoreError: this version does not know a row.
    """
    for key, value in store.scan(b"\1", b"\xff"):
        tenant_id = tenant_of(key)
        if tenant_id is None:
            continue
        wanted = kafka_partition(tenant_id.encode(), count)
        if wanted != partition:
            raise TopicContentError(
                f"tenant {tenant_id}: its state is in partition {partition} of {count}, but Kafka's default partitioner"
                f" puts its records into {wanted}: its producers use a different one"
            )
        yield key, value


def moved(record: Any, count: int) -> Moved:
    """A record in the partition that its key belongs to; one without a key goes by its old partition."""
    partition = record.partition % count if record.key is None else kafka_partition(record.key, count)
    return Moved(record.key, record.value, partition, tuple(record.headers), record.timestamp)
