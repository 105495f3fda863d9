"""What became of notices at destinations: in pages, newest first, and each attempt of a message."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, and_, literal, outerjoin, select, tuple_

from streams.database.database import ALL_TENANTS
from streams.notices.tables import ATTEMPT, DELIVERY, DESTINATION, MESSAGE, NOTICE

MOST_ROWS: Final = 1_000
Place = tuple[int, str, str, str]
"""Where a page ends: `routed_at`, tenant, notification and destination of its last delivery."""


class Delivered(NamedTuple):
    """What became of a notice at a destination; moments in UTC milliseconds.

    `tenant_id` is whose destination it is, `notice_tenant` whose notice. `record` is the notification. What concerns a
    message is None, or 0, while there is none.
    """

    tenant_id: str
    notice_tenant: str
    notification_id: str
    destination_id: str
    destination_kind: str
    destination_name: str
    state: str
    severity: str
    routed_at: int
    due_at: int
    ended_at: int | None
    why: str | None
    message_id: str | None
    attempts: int
    last_code: int | None
    last_outcome: str | None
    last_why: str | None
    record: dict[str, Any]


class Attempted(NamedTuple):
    """What the other side answered to a message; moments in UTC milliseconds."""

    number: int
    at: int
    ended_at: int
    outcome: str
    code: int | None
    why: str


_FROM: Final = outerjoin(
    DELIVERY.join(
        NOTICE,
        and_(NOTICE.c.tenant_id == DELIVERY.c.notice_tenant, NOTICE.c.notification_id == DELIVERY.c.notification_id),
    ).join(
        DESTINATION,
        and_(
            DESTINATION.c.tenant_id == DELIVERY.c.tenant_id,
            DESTINATION.c.destination_id == DELIVERY.c.destination_id,
        ),
    ),
    MESSAGE,
    and_(MESSAGE.c.tenant_id == DELIVERY.c.tenant_id, MESSAGE.c.message_id == DELIVERY.c.message_id),
)
_COLUMNS: Final = (
    DELIVERY.c.tenant_id,
    DELIVERY.c.notice_tenant,
    DELIVERY.c.notification_id,
    DELIVERY.c.destination_id,
    DESTINATION.c.kind,
    DESTINATION.c.name,
    DELIVERY.c.state,
    DELIVERY.c.severity,
    DELIVERY.c.routed_at,
    DELIVERY.c.due_at,
    DELIVERY.c.ended_at,
    DELIVERY.c.why,
    DELIVERY.c.message_id,
    MESSAGE.c.attempts,
    MESSAGE.c.last_code,
    MESSAGE.c.last_outcome,
    MESSAGE.c.last_why,
    NOTICE.c.detail,
)


def deliveries(
    connection: Connection,
    tenant: str,
    *,
    notification_id: str | None = None,
    destination_id: str | None = None,
    limit: int = 50,
    behind: Place | None = None,
) -> tuple[list[Delivered], Place | None]:
    """A page of what became of notices at a tenant's destinations, and where it ends, None for the last one.

    Args:
        connection: of a reading transaction of this tenant.
        tenant: whose destinations; `ALL_TENANTS` for all, those of operators too.
        notification_id: only of this notice.
        destination_id: only at this destination.
        limit: how many at most, up to `MOST_ROWS`.
        behind: where the page before ended, None for the first one.

    Raises:
        ValueError: the limit is not from 1 to `MOST_ROWS`.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise ValueError(f"limit: {limit}: must be from 1 to {MOST_ROWS}")
    columns = DELIVERY.c
    order = (columns.routed_at, columns.tenant_id, columns.notification_id, columns.destination_id)
    asked = select(*_COLUMNS).select_from(_FROM)
    if tenant is not ALL_TENANTS:
        asked = asked.where(columns.tenant_id == tenant)
    if notification_id is not None:
        asked = asked.where(columns.notification_id == notification_id)
    if destination_id is not None:
        asked = asked.where(columns.destination_id == destination_id)
    if behind is not None:
        asked = asked.where(tuple_(*order) < tuple_(*(literal(value) for value in behind)))
    found = connection.execute(asked.order_by(*(column.desc() for column in order)).limit(limit + 1))
    rows = [_delivered(*row) for row in found]
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], (last.routed_at, last.tenant_id, last.notification_id, last.destination_id)


def _delivered(*row: Any) -> Delivered:
    found = Delivered._make(row)
    return found._replace(attempts=found.attempts or 0, record=orjson.loads(row[-1]))


def attempts_of(connection: Connection, tenant: str, message_id: str) -> list[Attempted]:
    """Every attempt of a message to a tenant's destination that is still known, oldest first."""
    columns = ATTEMPT.c
    asked = select(columns.number, columns.at, columns.ended_at, columns.outcome, columns.code, columns.why)
    asked = asked.where(columns.message_id == message_id)
    if tenant is not ALL_TENANTS:
        asked = asked.where(columns.tenant_id == tenant)
    return [Attempted(*row) for row in connection.execute(asked.order_by(columns.at, columns.number))]
