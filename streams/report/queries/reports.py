"""The reports of a tenant's servers as their records have them, in pages by name."""

from __future__ import annotations

from typing import Any, Final

import orjson
from sqlalchemy import Connection, select

from streams.domain.outputs.server_report import ServerReport
from streams.report.queries.cursors import read_cursor, sign_cursor
from streams.report.queries.rows import Page
from streams.report.queries.scopes import of_tenant
from streams.report.store.tables import SERVER

_NULLS: Final = dict.fromkeys(ServerReport._fields)
"""What a record has and `detail` leaves out."""
MOST_REPORTS: Final = 500
"""Of a page: what is asked of each takes longer than reading it."""


def list_reports(
    connection: Connection, tenant: str, *, key: bytes, limit: int = MOST_REPORTS, cursor: str | None = None
) -> Page[dict[str, Any]]:
    """A page of reports.

    Args:
        connection: of a reading transaction of this tenant.
        tenant: whose servers.
        key: that signs cursors.
        limit: how many at most, up to `MOST_REPORTS`.
        cursor: of the page before, None for the first one.

    Raises:
        CursorError: the cursor is of another question, or not of this service.
        ValueError: the limit is not from 1 to `MOST_REPORTS`.
    """
    if not 1 <= limit <= MOST_REPORTS:
        raise ValueError(f"limit: {limit}: must be from 1 to {MOST_REPORTS}")
    columns, question = SERVER.c, ("reports", tenant)
    asked = select(columns.server, columns.detail).where(of_tenant(columns.tenant_id, tenant))
    if cursor is not None:
        asked = asked.where(columns.server > read_cursor(key, question, cursor)[0])
    rows = list(connection.execute(asked.order_by(columns.server).limit(limit + 1)))
    shown = [_NULLS | orjson.loads(row.detail) for row in rows[:limit]]
    return Page(shown, None if len(rows) <= limit else sign_cursor(key, question, [rows[limit - 1].server]))
