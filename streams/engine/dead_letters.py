"""Records that cannot be processed, kept whole with the reason in their headers."""

from __future__ import annotations

import logging

from streams.engine.events import event
from streams.engine.ports import Headers, Output, Record, size_of

log = logging.getLogger(__name__)

MAX_RECORD_BYTES = 16 << 20
"""What an input topic takes; what the client inflates may be larger."""
MAX_LETTER_BYTES = MAX_RECORD_BYTES + (64 << 10)
"""What a dead letter has at most: the largest record, and the headers that say what is wrong with it."""
MAX_LETTER_BATCH_BYTES = MAX_LETTER_BYTES + (64 << 10)
"""What the topic of dead letters has to take: a letter, the lengths of its parts, and the head of its batch."""
SUFFIX = ".dlq"
"""Of the topic that holds the dead letters of another."""
ERROR, TOPIC, PARTITION = "error", "source.topic", "source.partition"
OFFSET, TIMESTAMP = "source.offset", "source.timestamp"
"""With those above the headers behind the record's own, in this order."""
SIZE = "source.size"
"""The last header, only where the letter does not hold the whole record: the bytes of its key, value and headers."""


def dead_letter(record: Record, error: Exception, partition: int) -> Output:
    """The record with its bytes, key and headers.

    Of one that is larger than an input topic takes, the value is cut, or what else is too long left out, and its size
    told.
    """
    reason = f"{type(error).__name__}: {error}"[:1000]
    log.warning(
        "dead letter %s-%d@%d: %s",
        *(record.topic, partition, record.offset, reason),
        extra=event(
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
    key, value, kept = record.key, record.value, tuple(record.headers)
    size = size_of(record)
    if size > MAX_RECORD_BYTES:
        about[SIZE] = str(size)
        key, value, kept = _shortened(key, value, kept, size - MAX_RECORD_BYTES)
    headers = tuple((name, text.encode("utf-8", "replace")) for name, text in about.items())
    return Output(record.topic + SUFFIX, key, value, (*kept, *headers))


def _shortened(
    key: bytes | None, value: bytes | None, headers: Headers, surplus: int
) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers less so many bytes: first of the value, then the headers, then the key."""
    left = max(0, surplus - len(value or b""))
    value = value and value[: max(0, len(value) - surplus)]
    if left:
        left -= size_of(Output("", None, None, headers))
        headers = ()
    return (key[: len(key) - left] if key and left > 0 else key), value, headers
