"""Destinations, subscriptions and notices for tests."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, select

from streams.database.database import ALL_TENANTS, Database
from streams.domain.time import DAY_MS
from streams.kafka.places import Place
from streams.notices.destinations import confirm, create_destination
from streams.notices.model import Destination, DestinationKind, Subscription
from streams.notices.subscriptions import create_subscription
from streams.notify.notice import Notice, notice_of
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry

START = 20_700 * DAY_MS + 10 * 3_600_000
"""Ten o'clock (UTC) on a day in 2026."""


def add_destination(
    database: Database,
    tenant: str = "contoso",
    kind: DestinationKind = DestinationKind.MAIL,
    *,
    address: str = "",
    zone: str = "UTC",
    is_confirmed: bool = True,
    now: int = START,
) -> Destination:
    """A destination of a tenant; unless said, it is confirmed."""
    if not address:
        address = f"admin@{tenant}.example" if kind is DestinationKind.MAIL else f"https://{tenant}.example/hook"
    with database.writing() as connection:
        made = create_destination(
            connection, tenant=tenant, kind=kind, name="Admins", address=address, now=now, created_by="test", zone=zone
        )
        return confirm(connection, tenant, made.destination_id, now) if is_confirmed else made


def subscribe(database: Database, destination: Destination, now: int = START, **values: Any) -> Subscription:
    """A subscription of a destination; unless said, of everything at once."""
    wanted = Subscription(destination.tenant_id, "", destination.destination_id, **values)
    with database.writing() as connection:
        return create_subscription(connection, wanted, now, "test")


def rows_of(database: Database, table: Table) -> list[dict[str, Any]]:
    """All rows of a table, in order of their keys."""
    with database.reading(ALL_TENANTS) as connection:
        return [dict(row._mapping) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]


_CODEC = AvroCodec("admin_notification", LocalRegistry())
PLACE = Place("enforcement.notifications.v1", 0)
SOURCE = "cluster/topic-id"


def notification(number: int, **changes: Any) -> dict[str, Any]:
    """A record of a notification, with the defaults of its schema."""
    record: dict[str, Any] = {
        "notification_id": f"n{number}",
        "kind": "STAGE_ENTERED",
        "severity": "WARNING",
        "tenant_id": "contoso",
        "server": "mx1.contoso.com",
        "occurred_at": START + number,
        "title": "Mail is delayed",
        "text": "Mail of mx1.contoso.com is delayed.",
        "stage": 2,
        "cves": [],
    }
    return _CODEC.decode(_CODEC.encode(record | changes))


def encoded(record: dict[str, Any]) -> bytes:
    """A notification's value."""
    return _CODEC.encode(record)


def notice(number: int, *, written_at: int = START, offset: int | None = None, **changes: Any) -> Notice:
    """A notice as it is read; its offset is its number unless said."""
    return notice_of(PLACE, number if offset is None else offset, written_at, notification(number, **changes))
