"""Which partition a key belongs to."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner

_partitioner = DefaultPartitioner()


def kafka_partition(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key."""
    every = list(range(partitions))
    return int(_partitioner(key, every, every))
