"""What is done to the ledger beside sending: what it holds is counted, and what has grown too old goes."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, select, text, update

from streams.database.database import ALL_TENANTS, Database
from streams.database.upserts import SQLITE
from streams.database.upserts import delete as delete_rows
from streams.domain.outputs.notification import Severity
from streams.domain.time import DAY_MS, HOUR_MS
from streams.notices.destinations import EXPIRED, WAITING
from streams.notices.facts import began_at
from streams.notices.model import DestinationState, Origin
from streams.notices.tables import ATTEMPT, DELIVERY, DESTINATION, LANE, MESSAGE, METADATA, NOTICE, UNREADABLE
from streams.notify.routing import OLDEST_MS
from streams.notify.status import Ledger

ATTEMPT_DAYS = 30
"""How long it is kept what the other side answered each time."""
OVERDUE_MS = HOUR_MS
"""A critical notice that should have gone longer ago is an alarm."""


def count(database: Database, now: int) -> Ledger:
    """What the ledger holds at a moment (UTC milliseconds)."""
    with database.reading(ALL_TENANTS) as connection:
        same = (DESTINATION.c.tenant_id == DELIVERY.c.tenant_id) & (
            DESTINATION.c.destination_id == DELIVERY.c.destination_id
        )
        is_open = DELIVERY.c.ended_at.is_(None)
        opened = select(DESTINATION.c.kind, func.count()).select_from(DELIVERY.join(DESTINATION, same)).where(is_open)
        parked = select(DESTINATION.c.kind, func.count()).where(DESTINATION.c.state == DestinationState.PARKED)
        late = (is_open, DELIVERY.c.severity == Severity.CRITICAL, DELIVERY.c.due_at < now - OVERDUE_MS)
        since = max(began_at(connection), now - OLDEST_MS)
        untold = select(func.count(NOTICE.c.tenant_id.distinct())).where(
            NOTICE.c.deliveries == 0, NOTICE.c.written_at >= since
        )
        return Ledger(
            {row[0]: row[1] for row in connection.execute(opened.group_by(DESTINATION.c.kind))},
            {row[0]: row[1] for row in connection.execute(parked.group_by(DESTINATION.c.kind))},
            _number(connection, select(func.count()).where(*late)),
            _number(connection, untold),
        )


def expire(database: Database, now: int) -> int:
    """End what waits and has grown too old to be told; returns how much.

    What is due at a lane that is taken ends there. This is for the rest: what waits at parked destinations, at those
    that fail, and for channels that are not set up.
    """
    old = select(NOTICE.c.notification_id).where(
        NOTICE.c.tenant_id == DELIVERY.c.notice_tenant,
        NOTICE.c.notification_id == DELIVERY.c.notification_id,
        NOTICE.c.occurred_at < now - OLDEST_MS,
    )
    waits = (DELIVERY.c.ended_at.is_(None), DELIVERY.c.state == WAITING)
    ended = {"state": EXPIRED, "ended_at": now, "why": "too old to be told"}
    with database.writing() as connection:
        return int(connection.execute(update(DELIVERY).where(*waits, old.exists()).values(**ended)).rowcount)


def prune(database: Database, now: int, history_days: int) -> None:
    """Delete attempts and what ended too long ago, and removed destinations with the last of it; what is open stays.

    A connector's contact that was removed is kept: while it is named, that is all that tells it wants no more.
    """
    before = now - history_days * DAY_MS
    with database.writing() as connection:
        connection.execute(delete(ATTEMPT).where(ATTEMPT.c.at < now - ATTEMPT_DAYS * DAY_MS))
        connection.execute(delete(DELIVERY).where(DELIVERY.c.ended_at < before))
        connection.execute(delete(MESSAGE).where(MESSAGE.c.ended_at < before))
        left = select(DELIVERY.c.notification_id).where(
            DELIVERY.c.notice_tenant == NOTICE.c.tenant_id, DELIVERY.c.notification_id == NOTICE.c.notification_id
        )
        connection.execute(delete(NOTICE).where(NOTICE.c.occurred_at < before, ~left.exists()))
        _forget_removed(connection, before)
        connection.execute(delete(UNREADABLE).where(UNREADABLE.c.written_at < before))


def _forget_removed(connection: Connection, before: int) -> None:
    asked = select(DESTINATION.c.tenant_id, DESTINATION.c.destination_id).where(
        DESTINATION.c.state == DestinationState.REMOVED,
        DESTINATION.c.origin != Origin.CONNECTOR,
        DESTINATION.c.created_at < before,
    )
    for table in (DELIVERY, MESSAGE):
        same = (table.c.tenant_id == DESTINATION.c.tenant_id, table.c.destination_id == DESTINATION.c.destination_id)
        asked = asked.where(~select(table.c.destination_id).where(*same).exists())
    gone = list(connection.execute(asked))
    for table in (LANE, DESTINATION):
        delete_rows(connection, table, [tuple(row) for row in gone])


def analyze(database: Database) -> None:
    """Have the database look at what its tables hold, so that it plans queries by it."""
    with database.writing() as connection:
        if connection.dialect.name == SQLITE:
            # So many rows of each index are enough to see how its values are spread.
            connection.execute(text("PRAGMA analysis_limit = 1000"))
        for table in METADATA.tables:
            connection.execute(text(f"ANALYZE {table}"))


def _number(connection: Connection, asked: object) -> int:
    return int(connection.execute(asked).scalar_one())  # type: ignore[call-overload]
