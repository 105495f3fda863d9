"""Servers whose enforcement goes on: those with stages to come, the furthest first."""

from __future__ import annotations

from typing import Any, Final

import orjson
from sqlalchemy import Connection, select

from streams.domain.outputs.server_report import ServerStatus
from streams.report.model.statuses import URGENCY
from streams.report.queries.scopes import of_tenant
from streams.report.store.tables import NEVER, SERVER

MOST_REPORTS: Final = 500
"""Reports that are read whole; a tenant with more servers that are out of date gets no outlook."""
IN_EPISODE: Final = (
    ServerStatus.BLOCKED,
    ServerStatus.THROTTLED,
    ServerStatus.MIXED,
    ServerStatus.REPORTED,
    ServerStatus.PAUSED,
)


def reports_in_episode(connection: Connection, tenant: str, limit: int = MOST_REPORTS) -> list[dict[str, Any]]:
    """The reports, as their records have them, of servers with a stage to come: the highest stages first.

    In a stage they are in order of the next date, so the first that is not blocked is the first whose mail will be.
    """
    columns = SERVER.c
    ranks = sorted(URGENCY[status] for status in IN_EPISODE)
    keys = (
        select(columns.tenant_id, columns.server)
        .where(of_tenant(columns.tenant_id, tenant), columns.urgency.in_(ranks), columns.next_at < NEVER)
        .order_by(columns.stage.desc(), columns.next_at, columns.tenant_id, columns.server)
        .limit(limit)
        .subquery()
    )
    found = select(columns.detail).join(
        keys, (columns.tenant_id == keys.c.tenant_id) & (columns.server == keys.c.server)
    )
    ordered = found.order_by(columns.stage.desc(), columns.next_at, columns.tenant_id, columns.server)
    return [orjson.loads(detail) for (detail,) in connection.execute(ordered)]
