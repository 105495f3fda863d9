"""Compares what was moved with where it came from, independently of how it was moved.

Of a compacted topic and of the state, the last record of each key is compared, since the broker may drop those before
it at any time; of all others, every record. Digests do not depend on the order; partitions are looked at one by one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition

from streams.engine.ports import StateStore
from streams.kafka.cluster import Cluster
from streams.kafka.partitioner import kafka_partition
from streams.kafka.reader import read_partitions
from streams.kafka.record import Headers
from streams.operations.group import TopicContentError
from streams.operations.repartition.moves import moved, tenant_rows
from streams.operations.states import compacted_store, restored_changelog
from streams.state.inspect import tenant_of

_MODULUS = 2**256


@dataclass(slots=True)
class Digest:
    """How many records, and the sum of their hashes."""

    records: int = 0
    total: int = 0

    def add(self, key: bytes | None, value: bytes | None, headers: Headers = (), timestamp: int = 0) -> None:
        """Take a record into account."""
        text = repr((key, value, headers, timestamp)).encode()
        self.records += 1
        self.total = (self.total + int.from_bytes(hashlib.sha256(text).digest(), "big")) % _MODULUS


def compare(name: str, wanted: Digest, found: Digest) -> int:
    """The number of records.

    Raises:
        TopicContentError: they are not the same.
    """
    if wanted != found:
        said = "the count differs" if wanted.records != found.records else "the records differ"
        raise TopicContentError(f"{name}: {found.records} records where {wanted.records} were moved: {said}")
    return found.records


async def digest_of_log(
    cluster: Cluster,
    starts: Mapping[TopicPartition, int | None],
    ends: Mapping[TopicPartition, int] | None = None,
    *,
    keeps_times: bool,
) -> Digest:
    """Every record of a topic's partitions; `keeps_times` where a move keeps their timestamps."""
    digest = Digest()
    async for record in read_partitions(cluster, starts, ends, needs_all=True):
        digest.add(record.key, record.value, tuple(record.headers), record.timestamp if keeps_times else 0)
    return digest


async def check_places(cluster: Cluster, partitions: Sequence[TopicPartition]) -> None:
    """Refuse a topic with a keyed record in another partition than its key's.

    Raises:
        TopicContentError: it has one.
    """
    async for record in read_partitions(cluster, dict.fromkeys(partitions)):
        if record.key is not None and moved(record, len(partitions)).partition != record.partition:
            raise TopicContentError(f"{record.topic}-{record.partition}@{record.offset}: belongs to another partition")


async def digest_of_keyed(cluster: Cluster, partitions: Sequence[TopicPartition]) -> Digest:
    """The last record of each key."""
    digest = Digest()
    for partition in partitions:
        async with compacted_store(cluster, partition) as store:
            for key, value in store.scan(b"", b"\xff" * 8):
                digest.add(key, value)
    return digest


def digest_of_states(stores: Sequence[StateStore]) -> Digest:
    """The rows of tenants."""
    digest = Digest()
    for partition, store in enumerate(stores):
        for key, value in tenant_rows(store, partition, len(stores)):
            digest.add(key, value)
    return digest


async def digest_of_changelog(cluster: Cluster, partitions: Sequence[TopicPartition]) -> Digest:
    """The rows of tenants as a worker would restore them.

    Raises:
        TopicContentError: a row is in another partition than its tenant's records.
    """
    digest = Digest()
    for number, partition in enumerate(partitions):
        async with restored_changelog(cluster, partition) as store:
            for key, value in store.scan(b"\1", b"\xff"):
                tenant_id = tenant_of(key)
                if tenant_id is None:
                    continue
                if kafka_partition(tenant_id.encode(), len(partitions)) != number:
                    raise TopicContentError(f"{partition.topic}-{number}: row {key[:60]!r} belongs elsewhere")
                digest.add(key, value)
    return digest
