"""Records that cannot be processed, kept whole with the reason in their headers."""

from __future__ import annotations

import logging

from streams.engine.ports import Output, Record
from streams.kafka.record import MAX_RECORD_BYTES, Headers
from streams.kafka.topics import DEAD_LETTER_SUFFIX
from streams.kafka.unread import UnreadBatch
from streams.log_events import log_event

log = logging.getLogger(__name__)

MAX_VALUE_BYTES = MAX_RECORD_BYTES - (256 << 10)
"""Of the value of a record that is larger, less key and headers."""
_SMALL_BYTES = 128 << 10
"""Of key and own headers, that a value of the full size leaves room for."""
MAX_KEY_BYTES = MAX_HEADERS_BYTES = 1 << 20
"""Of a dead letter that would be too large: a longer key, or more headers, are left out."""
ERROR, TOPIC, PARTITION = "error", "source.topic", "source.partition"
OFFSET, TIMESTAMP = "source.offset", "source.timestamp"
"""With those above the headers behind the record's own, in this order."""
BATCH = "source.batch"
"""Behind those, only where the letter holds a whole batch that could not be read: its offsets and codec."""
LEFT_OUT = "source.left-out"
"""Behind those, only where the record's key or headers are too large for the topic: what the letter lacks."""
SIZE = "source.size"
"""The last header, only where the value is cut."""


def dead_letter(record: Record, error: Exception, partition: int) -> Output:
    """The record with its bytes, key and headers; of one too large for the topic, what is left out or cut is told.

    An unread batch is kept as the broker stored it.
    """
    reason = f"{type(error).__name__}: {error}"[:1000]
    log.warning(
        "dead letter %s-%d@%d: %s",
        *(record.topic, partition, record.offset, reason),
        extra=log_event(
            "dead_letter", topic=record.topic, partition=partition, offset=record.offset, reason=type(error).__name__
        ),
    )
    about = {
        ERROR: reason,
        TOPIC: record.topic,
        PARTITION: str(partition),
        OFFSET: str(record.offset),
        TIMESTAMP: str(record.timestamp),
    }
    if isinstance(record, UnreadBatch):
        about[BATCH] = f"{record.first}..{record.offset} {record.codec}"
        value: bytes | None = record.batch
    else:
        value = record.value
    key, value, own = _fit(record.key, value, tuple(record.headers), about)
    headers = tuple((name, text.encode("utf-8", "replace")) for name, text in about.items())
    return Output(record.topic + DEAD_LETTER_SUFFIX, key, value, (*own, *headers))


def _fit(
    key: bytes | None, value: bytes | None, own: Headers, about: dict[str, str]
) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and own headers as far as the topic takes them; `about` gets what is left out or cut."""
    key_bytes, own_bytes, value_bytes = len(key or b""), _size(own), len(value or b"")
    if value_bytes + key_bytes + own_bytes <= MAX_RECORD_BYTES:
        return key, value, own
    room = MAX_VALUE_BYTES - max(0, key_bytes + own_bytes - _SMALL_BYTES)
    if value_bytes > room:
        left_out = []
        if key_bytes > MAX_KEY_BYTES:
            left_out.append(f"key of {key_bytes} bytes")
            key, room = None, room + key_bytes
        if own_bytes > MAX_HEADERS_BYTES:
            left_out.append(f"{len(own)} headers of {own_bytes} bytes")
            own, room = (), room + own_bytes
        if left_out:
            about[LEFT_OUT] = ", ".join(left_out)
    if value is not None and value_bytes > (room := min(room, MAX_VALUE_BYTES)):
        about[SIZE] = str(value_bytes)
        value = value[:room]
    return key, value, own


def _size(headers: Headers) -> int:
    # Each has two lengths, of one byte below 64, as they stand in the record.
    sizes = ((len(name.encode("utf-8", "replace")), len(text or b"")) for name, text in headers)
    return sum(name + text + _length_bytes(name) + _length_bytes(text) for name, text in sizes)


def _length_bytes(length: int) -> int:
    return 1 + max(0, length.bit_length()) // 7
