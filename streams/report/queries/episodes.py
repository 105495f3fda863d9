"""Servers whose enforcement goes on: those with stages to come, the furthest first."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, func, literal_column, select

from streams.domain.outputs.server_report import ServerStatus
from streams.domain.time import DAY_MS
from streams.report.queries.scopes import of_tenant
from streams.report.store.tables import NEVER, SERVER

IN_EPISODE: Final = (
    ServerStatus.BLOCKED,
    ServerStatus.THROTTLED,
    ServerStatus.MIXED,
    ServerStatus.REPORTED,
    ServerStatus.PAUSED,
)


_IS_COMING: Final = SERVER.c.next_at < literal_column(str(NEVER))
"""As the index of servers with stages to come says it: no parameter, since a plan has to know the value."""


class Ahead(NamedTuple):
    """So many servers of a status whose mail will be delayed and blocked on a day, whole days since 1970; or never."""

    status: str
    delayed_on: int | None
    blocked_on: int | None
    n: int


def count_ahead(connection: Connection, tenant: str) -> list[Ahead]:
    """All servers of a tenant with a stage to come, counted by what comes when."""
    columns = SERVER.c
    # Whole numbers are divided into whole ones by both databases.
    kinds = (
        columns.status,
        *(column.op("/")(literal_column(str(DAY_MS))) for column in (columns.delayed_at, columns.blocked_at)),
    )
    asked = select(*kinds, func.count()).where(
        of_tenant(columns.tenant_id, tenant), columns.status.in_(IN_EPISODE), _IS_COMING
    )
    return [Ahead._make(row) for row in connection.execute(asked.group_by(*kinds))]


def next_block(connection: Connection, tenant: str, at: int) -> int | None:
    """The first moment behind another at which mail of a server that is not blocked now will be; UTC milliseconds."""
    columns = SERVER.c
    others = [status for status in IN_EPISODE if status is not ServerStatus.BLOCKED]
    asked = select(func.min(columns.blocked_at)).where(
        of_tenant(columns.tenant_id, tenant), columns.status.in_(others), _IS_COMING, columns.blocked_at > at
    )
    return connection.execute(asked).scalar()


def reports_in_episode(connection: Connection, tenant: str, limit: int) -> list[dict[str, Any]]:
    """The reports, as their records have them, of servers with a stage to come: the highest stages first.

    In a stage they are in order of the next date, so the first that is not blocked is the first whose mail will be.
    """
    columns = SERVER.c
    keys = (
        select(columns.tenant_id, columns.server)
        .where(of_tenant(columns.tenant_id, tenant), columns.status.in_(IN_EPISODE), _IS_COMING)
        .order_by(columns.stage.desc(), columns.next_at, columns.tenant_id, columns.server)
        .limit(limit)
        .subquery()
    )
    found = select(columns.detail).join(
        keys, (columns.tenant_id == keys.c.tenant_id) & (columns.server == keys.c.server)
    )
    ordered = found.order_by(columns.stage.desc(), columns.next_at, columns.tenant_id, columns.server)
    return [orjson.loads(detail) for (detail,) in connection.execute(ordered)]
