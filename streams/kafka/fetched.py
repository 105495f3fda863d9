"""A record as this product's consumers get it.

aiokafka makes a record of eleven fields by interpreted code, and that is done for each connection. Here it is compiled.
Where the batch kernel is built, it makes the records of an uncompressed batch, all at once, and `unread` hands them on
as lists.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

try:
    from streams.kafka.batch_kernel import read_batch
except ImportError:  # not built: aiokafka reads every batch
    HAS_KERNEL = False
else:
    HAS_KERNEL = True

Header = tuple[str, bytes | None]
"""Kafka has headers without a value."""
NO_HEADERS: Final[tuple[Header, ...]] = ()
NO_TIMESTAMP: Final = -1
"""Of a record without a time, as Kafka has it; what producers of old formats wrote has none."""


class FetchedRecord:
    """A record, with the names that aiokafka's own has: `timestamp` in UTC milliseconds.

    `size` is the bytes of key, value and headers.
    """

    __slots__ = ("_raw", "headers", "key", "offset", "partition", "size", "timestamp", "topic", "value")

    checksum: ClassVar[None] = None

    def __init__(self, topic: str, partition: int, raw: Any) -> None:
        """Take what aiokafka's parser of batches found."""
        self.topic, self.partition, self._raw = topic, partition, raw
        self.offset: int = raw.offset
        timestamp: int | None = raw.timestamp
        self.timestamp: int = NO_TIMESTAMP if timestamp is None else timestamp
        key: bytes | None = raw.key
        value: bytes | None = raw.value
        size = 0
        if key is not None:
            size = len(key)
        if value is not None:
            size += len(value)
        headers: list[Header] = raw.headers
        self.headers = NO_HEADERS
        if headers:
            self.headers = tuple(headers)
            for name, content in headers:
                size += len(name) + len(content or b"")
        self.key, self.value, self.size = key, value, size

    @property
    def timestamp_type(self) -> int:
        """0 for a time of the producer's, 1 for one of the broker's."""
        return int(self._raw.timestamp_type or 0)

    @property
    def serialized_key_size(self) -> int:
        """The bytes of the key, -1 for none."""
        return -1 if self.key is None else len(self.key)

    @property
    def serialized_value_size(self) -> int:
        """The bytes of the value, -1 for none."""
        return -1 if self.value is None else len(self.value)


def read_plain_batch(place: Any, data: bytes, begin: int, end: int) -> list[Any] | None:
    """The records of an uncompressed batch that lies in what was fetched; None where aiokafka has to read it."""
    return read_batch(place.topic, place.partition, data, begin, end) if HAS_KERNEL else None
