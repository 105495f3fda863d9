"""Records that cannot be processed, kept whole with the reason in their headers."""

from __future__ import annotations

import logging

from streams.engine.events import event
from streams.engine.ports import Output, Record
from streams.engine.unread import UnreadBatch

log = logging.getLogger(__name__)

MAX_VALUE_BYTES = (16 << 20) - (256 << 10)
"""Of a dead letter: what its topic takes, less the headers that say why."""
SUFFIX = ".dlq"
"""Of the topic that holds the dead letters of another."""
ERROR, TOPIC, PARTITION = "error", "source.topic", "source.partition"
OFFSET, TIMESTAMP = "source.offset", "source.timestamp"
"""With those above the headers behind the record's own, in this order."""
BATCH = "source.batch"
"""Behind those, only where the letter holds a whole batch that could not be read: its offsets and codec."""
SIZE = "source.size"
"""The last header, only where the value is cut."""


def dead_letter(record: Record, error: Exception, partition: int) -> Output:
    """The record with its bytes, key and headers; a value too large for the topic is cut, and its size told.

    An unread batch is kept as the broker stored it.
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
    if isinstance(record, UnreadBatch):
        about[BATCH] = f"{record.first}..{record.offset} {record.codec}"
        value: bytes | None = record.batch
    else:
        value = record.value
    if value is not None and len(value) > MAX_VALUE_BYTES:
        about[SIZE] = str(len(value))
        value = value[:MAX_VALUE_BYTES]
    headers = tuple((name, text.encode("utf-8", "replace")) for name, text in about.items())
    return Output(record.topic + SUFFIX, record.key, value, (*record.headers, *headers))
