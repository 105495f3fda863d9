"""Batches of records that cannot be read, and lists of records that stay within a worker's memory.

A batch whose checksum is right is what its producer wrote, and reading it again changes nothing. Where it is damaged,
or becomes larger than `inflation` lets it, aiokafka would fail at the same offset for ever. Here it is handed on as one
record, an `UnreadBatch`, always the last of its list: the source and the side input make a dead letter of it, and every
other reader says which batch it is. Nobody takes it for a record: it has no `value`.

How many records are handed on at once is bounded in bytes too: a fetch may hold many batches that inflate.

Checksums are computed by the processor's own instruction, in a tenth of the time that aiokafka's code takes, and where
the batch kernel is built it reads the records of uncompressed batches.

Importing this module puts this in place for all of aiokafka's consumers, Faust's included.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import google_crc32c
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.util import calc_crc32c

from streams.errors import DependencyError
from streams.kafka.fetched import FetchedRecord, read_plain_batch
from streams.kafka.inflation import CODECS
from streams.kafka.record import Headers

_END: Final = object()
LIST_BYTES: Final = 8 << 20
"""A list of records ends with the first one that makes it larger than this."""

_LENGTH: Final = struct.Struct(">i")
_LENGTH_AT, _OVERHEAD, _MAGIC_AT = 8, 12, 16
_CRC: Final = struct.Struct(">I")
_CRC_AT, _ATTRIBUTES_AT, _MAX_TIMESTAMP_AT = 17, 21, 35
_CODEC_MASK: Final = 0x07

# Where there is no compiled code for the machine it would be interpreted, which is a thousand times slower.
_crc32c: Callable[[bytes], int] = google_crc32c.value if google_crc32c.implementation == "c" else calc_crc32c
_MemoryRecords = fetcher.MemoryRecords
_NOT_THE_BATCHS: Final = OSError | MemoryError | TypeError | AttributeError | NameError
"""The machine's faults, and the program's own, after which good records would become dead letters."""


class UnreadBatchError(DependencyError):
    """A reader that takes only records came to a batch that cannot be read; the message names it."""


class UnreadableError(ValueError):
    """A batch is not what a worker can read, or should; the message has offsets, codec, size and reason."""


class UnreadBatch:
    """A batch that cannot be read, in the place of its records: of offsets `first` to `offset`.

    `batch` has its bytes as the broker stores them, `timestamp` is its latest (UTC milliseconds), `error` says why.
    """

    __slots__ = ("batch", "codec", "error", "first", "offset", "partition", "timestamp", "topic")

    key = None
    headers: Headers = ()
    timestamp_type = 0

    def __init__(self, topic: str, partition: int, first: int, offset: int, batch: bytes, why: Exception) -> None:
        self.topic, self.partition, self.first, self.offset = topic, partition, first, offset
        self.batch = batch
        is_current = batch[_MAGIC_AT] > 1
        attributes = batch[_ATTRIBUTES_AT + 1] if is_current else batch[_MAGIC_AT + 1]
        number = attributes & _CODEC_MASK
        self.codec = CODECS[number] if number < len(CODECS) else str(number)
        self.timestamp: int = struct.unpack_from(">q", batch, _MAX_TIMESTAMP_AT)[0] if is_current else 0
        self.error = UnreadableError(f"{self.offsets}: batch of {len(batch)} bytes ({self.codec}): {why}")

    @property
    def offsets(self) -> str:
        """Which records it stands for."""
        return f"offset {self.offset}" if self.first == self.offset else f"offsets {self.first}..{self.offset}"

    @property
    def value(self) -> bytes | None:
        """There is none.

        Raises:
            UnreadBatchError: always; whoever comes here did not look for unread batches.
        """
        raise UnreadBatchError(f"{self.topic}-{self.partition}: {self.error}")

    @property
    def size(self) -> int:
        """Its bytes in memory."""
        return len(self.batch)


class _PlainRecords:
    """All records of a batch, in the place of one; `offset` is that of the last, `size` at least their bytes."""

    __slots__ = ("offset", "records", "size")

    def __init__(self, records: list[Any], size: int) -> None:
        self.records, self.size = records, size
        self.offset = records[-1].offset


class _Batch:
    """A batch of message format 2, as aiokafka's fetcher asks for it; `batch` is its own, which lies in `data`."""

    def __init__(self, batch: Any, place: Any, data: bytes, begin: int, end: int) -> None:
        self._batch, self._place, self._data, self._begin, self._end = batch, place, data, begin, end
        self.producer_id, self.base_offset, self.next_offset = batch.producer_id, batch.base_offset, batch.next_offset
        self.is_control_batch, self.is_transactional = batch.is_control_batch, batch.is_transactional

    def validate_crc(self) -> bool:
        """Whether it is what its producer wrote."""
        return _has_right_checksum(self._data[self._begin : self._end])

    def __iter__(self) -> Iterator[Any]:
        if self._batch.compression_type == 0:
            records = read_plain_batch(self._place, self._data, self._begin, self._end)
            if records:
                return iter((_PlainRecords(records, self._end - self._begin),))
        return iter(self._batch)

    def __next__(self) -> Any:
        return next(self._batch)


class _Batches:
    """Batches of a fetched partition, which is `place`, and the bytes of the one that was taken last."""

    place: Any

    def __init__(self, data: bytes) -> None:
        self._data, self._begin, self._end = data, 0, 0
        self._batches = _MemoryRecords(data)
        self.has_next = self._batches.has_next
        self.size_in_bytes = self._batches.size_in_bytes
        self.last: Any = None

    def next_batch(self) -> Any:
        batch = self._batches.next_batch()
        self._begin = self._end
        (length,) = _LENGTH.unpack_from(self._data, self._begin + _LENGTH_AT)
        self._end = self._begin + _OVERHEAD + length
        is_current = self._data[self._begin + _MAGIC_AT] > 1
        self.last = _Batch(batch, self.place, self._data, self._begin, self._end) if is_current else batch
        return self.last

    @property
    def last_bytes(self) -> bytes:
        return bytes(self._data[self._begin : self._end])


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of a fetched partition, one by one or in lists; `next_fetch_offset` is behind what was handed on."""

    next_fetch_offset: int
    _records_iterator: Any

    def __init__(self, tp: Any, records: _Batches, *args: Any) -> None:
        super().__init__(tp, records, *args)
        records.place = tp
        self._rest: list[Any] = []
        self._rest_at = self._rest_bytes = 0
        """The records of a batch that are not handed on yet begin there."""

    def _consumer_record(self, tp: Any, raw: Any) -> Any:
        if type(raw) is not _PlainRecords:
            return FetchedRecord(tp.topic, tp.partition, raw)
        self._rest, self._rest_at, self._rest_bytes = raw.records, 0, raw.size
        while raw.records[self._rest_at].offset < self.next_fetch_offset:  # the fetch began within the batch
            self._rest_at += 1
        return None

    def __next__(self) -> Any:
        records = self._records_iterator
        if records is None:
            raise StopIteration
        try:
            record = None if self._rest else next(records)
        except StopIteration:
            self._records_iterator = None
            raise
        except Exception as error:  # noqa: BLE001 - aiokafka raises many kinds for a broken batch
            return self.unread(error)
        return self._take_rest(1)[0] if record is None else record

    def take_into(self, taken: list[Any], most: int, most_bytes: int) -> bool:
        """Append the next records until there are so many, or not many more than so many bytes; whether there are.

        Raises:
            Exception: what aiokafka raises for a broken batch; those in front of it are appended.
        """
        size = 0
        while True:
            if not self._rest:
                record: Any = next(self._records_iterator or iter(()), _END)
                if record is _END:
                    return False
                if record is not None:
                    taken.append(record)
                    size += record.size
            if self._rest:
                if size + self._rest_bytes <= most_bytes:
                    taken += self._take_rest(most - len(taken))
                    size += self._rest_bytes
                else:
                    taken += (some := self._take_rest(1))
                    size += some[0].size
            if size > most_bytes or len(taken) >= most:
                return True

    def _take_rest(self, most: int) -> list[Any]:
        begin, end = self._rest_at, self._rest_at + most
        records = self._rest[begin:end]
        self.next_fetch_offset = records[-1].offset + 1
        if end < len(self._rest):
            self._rest_at = end
        else:
            self._rest = []
        return records

    def unread(self, error: Exception) -> UnreadBatch:
        """The batch that could not be read, and nothing of the fetch behind it: that is fetched again.

        Raises:
            CorruptRecordException: its checksum is wrong.
            Exception: `error` itself, where it is not the batch's fault otherwise.
        """
        self._records_iterator = None
        batches = self._records
        if isinstance(error, _NOT_THE_BATCHS) or batches.last is None:
            raise error
        data = batches.last_bytes
        tp, first, following = self._tp, self.next_fetch_offset, batches.last.next_offset
        if isinstance(error, CorruptRecordException) and not _has_right_checksum(data):
            # The next fetch, or another replica, may have it whole.
            where = f"{tp.topic}-{tp.partition}: offsets {first}..{following - 1}"
            raise CorruptRecordException(f"{where}: checksum mismatch: corrupted in transit or on disk") from error
        self.next_fetch_offset = following
        return UnreadBatch(tp.topic, tp.partition, first, self.next_fetch_offset - 1, data, error)


def _has_right_checksum(batch: bytes) -> bool:
    if batch[_MAGIC_AT] < 2:
        return False
    return bool(_CRC.unpack_from(batch, _CRC_AT)[0] == _crc32c(batch[_ATTRIBUTES_AT:]))


class _FetchResult(fetcher.FetchResult):  # type: ignore[misc]
    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        """The next records, at most so many, and not many more than `LIST_BYTES`."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        reader = self._partition_records
        records: list[Any] = []
        try:
            most = sys.maxsize if max_records is None else max_records
            if reader.take_into(records, most, LIST_BYTES):
                self._update_position()
                return records
        except Exception as error:  # noqa: BLE001 - aiokafka raises many kinds for a broken batch
            try:
                records.append(reader.unread(error))
            except Exception:
                if not records:
                    raise
                # Those in front of it first: the next fetch comes to it again.
        self._update_position()
        self._partition_records = None
        return records


fetcher.MemoryRecords = _Batches
fetcher.PartitionRecords = _PartitionRecords
fetcher.FetchResult = _FetchResult
