"""Whether a record is in the partition that Kafka's default partitioner gives its key.

A producer with another partitioner splits what belongs together: the state of one key would be in two partitions.
"""

from __future__ import annotations

import zlib

from streams.kafka.partitioner import kafka_partition


class MisplacedRecordError(ValueError):
    """A record is in another partition than its key's; the message names both, and the partitioner to set."""


class Placement:
    """One partition of `partitions`."""

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition, self._partitions = partition, partitions

    def holds(self, key: bytes) -> bool:
        """Whether records with this key belong here."""
        return kafka_partition(key, self._partitions) == self._partition

    def check(self, key: bytes) -> None:
        """Refuse a key that belongs elsewhere.

        Raises:
            MisplacedRecordError: it does.
        """
        if self.holds(key):
            return
        partition, partitions = self._partition, self._partitions
        looks = " as librdkafka's default (CRC32) has it" if zlib.crc32(key) % partitions == partition else ""
        raise MisplacedRecordError(
            f"partition: {partition} of {partitions}{looks}: key {key.decode('utf-8', 'replace')!r} belongs in "
            f"partition {kafka_partition(key, partitions)}, where Kafka's default partitioner (murmur2) puts it: set "
            "partitioner=murmur2_random in a producer of librdkafka, murmur2 of the key in any other"
        )
