"""Rows of the tables from decoded records, in the order of their columns."""

from __future__ import annotations

from typing import Any, Final

import orjson

from streams.domain.keys import ServerKey
from streams.report.model.ahead import first_stages
from streams.report.model.batch import Read
from streams.report.model.servers import Forgotten, Interval, ServerFacts
from streams.report.model.statuses import OTHER_URGENCY, URGENCY
from streams.report.store.tables import NEVER

Row = tuple[Any, ...]
_ZERO: Final = "\\u0000"
"""A character zero in JSON."""
NOT_READ: Final = -1
"""The offset of a row that was carried over and not read again."""


def detail_of(record: dict[str, Any]) -> str:
    """A record as JSON, without its nulls."""
    return orjson.dumps({name: value for name, value in record.items() if value is not None}).decode()


def _detail(read: Read) -> str:
    if read.detail is not None:
        return read.detail
    record: Any = read.record
    return detail_of(record)


def stored_text(text: str | None) -> str | None:
    """A text that PostgreSQL takes: it has no character zero."""
    return text if text is None or "\0" not in text else text.replace("\0", "\ufffd")


def stored_row(row: Row) -> Row:
    """A row whose texts PostgreSQL takes."""
    return tuple(stored_text(value) if isinstance(value, str) else value for value in row)


def server_row(read: Read, facts: ServerFacts) -> Row:
    """See `tables.SERVER`."""
    record: Any = read.record
    remedy, next_at = record["remedy"], record["next_stage_start_date"]
    detail = _detail(read)
    row = (
        *read.key,
        URGENCY.get(facts.status, OTHER_URGENCY),
        NEVER if next_at is None else next_at,
        record["last_seen_at"],
        facts.status,
        facts.stage,
        facts.finding,
        record["action"],
        record["identity"],
        facts.build,
        record["build_name"],
        record["exchange_server"],
        record["first_seen_at"],
        record["next_stage_throttle_rate"],
        record["next_stage_block_rate"],
        *((None, None) if remedy is None else (remedy["name"], remedy["kb"])),
        record["connections"],
        *facts.counters,
        record["paused_until"],
        record["exempt_until"],
        record["override_until"],
        *facts[5:9],
        record["reported_at"],
        facts.high_at,
        *facts.high,
        facts.since,
        *first_stages(record["schedule"]),
        read.place.partition,
        read.offset,
        detail,
    )
    return stored_row(row) if _ZERO in detail else row


def interval_row(interval: Interval) -> Row:
    """See `tables.SERVER_INTERVAL`."""
    return stored_row(interval)


def forgotten_row(key: ServerKey, mark: Forgotten) -> Row:
    """See `tables.SERVER_FORGOTTEN`."""
    return (*key, mark.at, mark.high_at, *mark.high)


def verdict_row(read: Read) -> Row:
    """See `tables.VERDICT`."""
    record: Any = read.record
    return (
        *read.key,
        record["revision"],
        record["action"],
        record["stage"],
        record["throttle_minutes_per_hour"],
        record["block_minutes_per_hour"],
        record["effective_at"],
        read.place.partition,
        read.offset,
        _detail(read),
    )


def notification_row(read: Read) -> Row:
    """See `tables.NOTIFICATION`."""
    record: Any = read.record
    return (
        record["tenant_id"],
        stored_text(record["notification_id"]),
        record["occurred_at"],
        record["kind"],
        record["severity"],
        stored_text(record["server"]),
        read.place.partition,
        read.offset,
        _detail(read),
    )


def command_row(read: Read) -> Row | None:
    """See `tables.COMMAND`; None for a notification that is of no command."""
    record: Any = read.record
    if record["command_id"] is None:
        return None
    return (
        record["tenant_id"],
        stored_text(record["command_id"]),
        stored_text(record["server"]),
        record["occurred_at"],
        read.place.partition,
        read.offset,
    )


def audit_row(read: Read) -> Row:
    """See `tables.AUDIT`."""
    record: Any = read.record
    return (
        record["tenant_id"],
        stored_text(record["audit_id"]),
        stored_text(record["command_id"]),
        record["occurred_at"],
        record["kind"],
        record["outcome"],
        stored_text(record["issued_by"]),
        read.place.partition,
        read.offset,
        _detail(read),
    )
