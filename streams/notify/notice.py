"""A notification as it is routed, and as its row in the ledger has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from streams.kafka.places import Place


class Notice(NamedTuple):
    """A notification that was read; moments in UTC milliseconds.

    `written_at` is when its record was written to the topic, which may be long after it happened.
    """

    place: Place
    offset: int
    written_at: int
    tenant_id: str
    notification_id: str
    kind: str
    severity: str
    server: str | None
    stage: int | None
    occurred_at: int
    detail: str

    @property
    def key(self) -> tuple[str, str]:
        """Its key in the ledger."""
        return self.tenant_id, self.notification_id


def notice_of(place: Place, offset: int, written_at: int, record: Mapping[str, Any]) -> Notice:
    """A notice from its record; nulls are left out of what is kept."""
    detail = orjson.dumps({name: value for name, value in record.items() if value is not None}).decode()
    return Notice(
        place,
        offset,
        written_at,
        record["tenant_id"],
        _stored(record["notification_id"]),
        record["kind"],
        record["severity"],
        None if record["server"] is None else _stored(record["server"]),
        record["stage"],
        record["occurred_at"],
        detail,
    )


def record_of(detail: str) -> dict[str, Any]:
    """A record as it was kept."""
    record: dict[str, Any] = orjson.loads(detail)
    return record


def _stored(text: str) -> str:
    """A text that PostgreSQL takes: it has no character zero."""
    return text.replace("\0", "\ufffd")
