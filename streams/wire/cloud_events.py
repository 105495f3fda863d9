"""The attributes of a CloudEvents 1.0 event in the headers of a record, as its Kafka binding has them in binary mode.

The value stays what it is, Avro; a reader needs none of these headers. They are the same each time a record is written:
the id is the record's own, the time that of its cause.
"""

from __future__ import annotations

from typing import Final

from streams.domain.time import iso
from streams.kafka.record import Headers

VERDICT_TYPE: Final = "tes.verdict.v1"
NOTIFICATION_TYPE: Final = "tes.notification.v1"
WORKER_SOURCE: Final = "urn:tes:worker"
"""The `source` of what any worker writes: with it an id is unique."""
CONTENT_TYPE: Final = "application/avro"
"""Of the value: Avro, behind the Confluent header that every value has."""


def _constant(kind: str) -> Headers:
    """The headers that all records of a type have."""
    attributes = {"ce_specversion": "1.0", "ce_type": kind, "ce_source": WORKER_SOURCE, "content-type": CONTENT_TYPE}
    return tuple((name, value.encode()) for name, value in attributes.items())


_OF_VERDICTS: Final = _constant(VERDICT_TYPE)
_OF_NOTIFICATIONS: Final = _constant(NOTIFICATION_TYPE)


def verdict_headers(verdict_id: str, issued_at: int) -> Headers:
    """The headers of a verdict that was issued at a moment (UTC milliseconds)."""
    return (*_OF_VERDICTS, ("ce_id", verdict_id.encode()), ("ce_time", iso(issued_at).encode()))


def notification_headers(notification_id: str, occurred_at: int) -> Headers:
    """The headers of a notification of what occurred at a moment (UTC milliseconds)."""
    return (*_OF_NOTIFICATIONS, ("ce_id", notification_id.encode()), ("ce_time", iso(occurred_at).encode()))
