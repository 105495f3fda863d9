"""Records that cannot be processed, kept whole with the reason in their headers."""

from __future__ import annotations

import logging

from streams.engine.ports import Output, Record

log = logging.getLogger(__name__)

MAX_VALUE_BYTES = (16 << 20) - (256 << 10)
"""Of a dead letter: what its topic takes, less the headers that say why."""


def dead_letter(record: Record, error: Exception, partition: int) -> Output:
    """The record with its bytes, key and headers; a value too large for the topic is cut, and its size told."""
    reason = f"{type(error).__name__}: {error}"[:1000]
    log.warning("dead letter %s-%d@%d: %s", record.topic, partition, record.offset, reason)
    about = {
        "error": reason,
        "source.topic": record.topic,
        "source.partition": str(partition),
        "source.offset": str(record.offset),
        "source.timestamp": str(record.timestamp),
    }
    value = record.value
    if value is not None and len(value) > MAX_VALUE_BYTES:
        about["source.size"] = str(len(value))
        value = value[:MAX_VALUE_BYTES]
    headers = tuple((name, text.encode("utf-8", "replace")) for name, text in about.items())
    return Output(f"{record.topic}.dlq", record.key, value, (*record.headers, *headers))
