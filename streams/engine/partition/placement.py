"""Whether a record is in the partition that Kafka's default partitioner gives its key.

A producer with another partitioner splits what belongs together: the state of one key would be in two partitions.
"""

from __future__ import annotations

import zlib
from typing import Final

from streams.kafka.partitioner import kafka_partition

PLACED_KEYS: Final = 20_000
"""Keys that a partition remembers to be in the right place."""


class MisplacedRecordError(ValueError):
    """A record is in another partition than its key's; the message names both, and the partitioner to set."""


class Placement:
    """One partition of `partitions`; each key is worked out once, as long as it is among the last ones seen."""

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition, self._partitions = partition, partitions
        self._placed: set[bytes] = set()

    def holds(self, key: bytes) -> bool:
        """Whether records with this key belong here."""
        if key in self._placed:
            return True
        if kafka_partition(key, self._partitions) != self._partition:
            return False
        if len(self._placed) >= PLACED_KEYS:
            self._placed.clear()
        self._placed.add(key)
        return True

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
