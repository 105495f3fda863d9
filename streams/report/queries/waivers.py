"""Exceptions and overrides that hold now, those that expire first ahead."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, case, func, select, tuple_

from streams.report.queries.rows import SUMMARIES, ServerSummary
from streams.report.queries.scopes import of_tenant
from streams.report.store.tables import NEVER, SERVER

MOST_ROWS: Final = 50


def waived_servers(connection: Connection, tenant: str, at: int, limit: int = MOST_ROWS) -> list[ServerSummary]:
    """Servers with an exception or an override that ends behind a moment, UTC milliseconds."""
    columns = SERVER.c
    exempt, override = (func.coalesce(column, NEVER) for column in (columns.exempt_until, columns.override_until))
    order = (case((exempt < override, exempt), else_=override), columns.tenant_id, columns.server)
    keys = (
        select(columns.tenant_id, columns.server)
        .where(
            of_tenant(columns.tenant_id, tenant),
            columns.exempt_until.is_not(None) | columns.override_until.is_not(None),  # as the index says it
            (columns.exempt_until > at) | (columns.override_until > at),
        )
        .order_by(*order)
        .limit(limit)
    )
    # The first ones are found before anything is joined to them.
    found = SUMMARIES.where(tuple_(columns.tenant_id, columns.server).in_(keys)).order_by(*order)
    return [ServerSummary._make(row) for row in connection.execute(found)]
