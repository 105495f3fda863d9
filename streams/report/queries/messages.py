"""What a tenant was told, and what became of commands; both newest first, in pages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Connection, and_, literal, outerjoin, select, tuple_

from streams.database.database import is_all_tenants
from streams.domain.tenant.commands import CommandKind
from streams.domain.tenant.publications import ALL_TENANTS as NO_TENANT
from streams.report.queries.cursors import read_cursor, sign_cursor
from streams.report.queries.rows import Page
from streams.report.queries.scopes import of_tenant
from streams.report.store.tables import AUDIT, COMMAND, NOTIFICATION

MOST_ROWS: Final = 1_000
PUBLICATIONS: Final = frozenset((CommandKind.POLICY_PUBLISHED, CommandKind.CATALOGUE_PUBLISHED))
"""What audit records of no single tenant are about."""


class Audited(NamedTuple):
    """An audit record with the server that its command was about, None for the whole tenant or an unknown one."""

    record: dict[str, Any]
    server: str | None


def notifications(
    connection: Connection,
    tenant: str,
    *,
    key: bytes,
    server: str | None = None,
    kinds: Collection[str] = (),
    limit: int = 50,
    cursor: str | None = None,
) -> Page[dict[str, Any]]:
    """A page of what a tenant was told, as the records have it.

    Args:
        connection: of a reading transaction of this tenant.
        tenant: which, or `ALL_TENANTS`.
        key: that signs cursors.
        server: only about this one.
        kinds: only of these; all where there are none.
        limit: how many at most, up to `MOST_ROWS`.
        cursor: of the page before, None for the first one.

    Raises:
        CursorError: the cursor is of another question, or not of this service.
        ValueError: the limit is not from 1 to `MOST_ROWS`.
    """
    columns = NOTIFICATION.c
    conditions = [of_tenant(columns.tenant_id, tenant)]
    if server is not None:
        conditions.append(columns.server == server)
    if kinds:
        conditions.append(columns.kind.in_(sorted(kinds)))
    question = ("notifications", tenant, server, sorted(kinds))
    order = (columns.occurred_at, columns.tenant_id, columns.notification_id)
    asked = select(columns.detail, *order).where(*conditions)
    rows, behind = _page(connection, asked, order, key, question, limit, cursor)
    return Page([orjson.loads(row[0]) for row in rows], behind)


def audits(
    connection: Connection,
    tenant: str,
    *,
    key: bytes,
    kinds: Collection[str] = (),
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Audited]:
    """A page of what became of commands; of all tenants with publications of policies and catalogues too.

    Arguments and errors are those of `notifications`.
    """
    columns = AUDIT.c
    conditions = [of_tenant(columns.tenant_id, tenant)]
    if kinds:
        conditions.append(columns.kind.in_(sorted(kinds)))
        if is_all_tenants(tenant) and PUBLICATIONS.issuperset(kinds):
            conditions.append(columns.tenant_id == NO_TENANT)  # few among many: they are not looked for in all
    order = (columns.occurred_at, columns.tenant_id, columns.audit_id)
    asked = select(columns.detail, *order, COMMAND.c.server).select_from(WITH_SUBJECT).where(*conditions)
    rows, behind = _page(connection, asked, order, key, ("audit", tenant, sorted(kinds)), limit, cursor)
    return Page([Audited(orjson.loads(row[0]), row[4]) for row in rows], behind)


def outcome_of(connection: Connection, tenant: str, command_id: str) -> Audited | None:
    """What became of a command; None where nothing is known of it yet."""
    asked = select(AUDIT.c.detail, COMMAND.c.server).select_from(WITH_SUBJECT)
    row = connection.execute(asked.where(AUDIT.c.tenant_id == tenant, AUDIT.c.command_id == command_id)).first()
    return None if row is None else Audited(orjson.loads(row[0]), row[1])


WITH_SUBJECT: Final = outerjoin(
    AUDIT, COMMAND, and_(AUDIT.c.tenant_id == COMMAND.c.tenant_id, AUDIT.c.command_id == COMMAND.c.command_id)
)
"""Audit records with the servers that their commands were about."""


def _page(
    connection: Connection,
    asked: Any,
    order: tuple[ColumnElement[Any], ...],
    key: bytes,
    question: tuple[Any, ...],
    limit: int,
    cursor: str | None,
) -> tuple[list[Any], str | None]:
    """Rows in falling order, which have the sort key behind their first column; and the cursor behind the last."""
    if not 1 <= limit <= MOST_ROWS:
        raise ValueError(f"limit: {limit}: must be from 1 to {MOST_ROWS}")
    if cursor is not None:
        place = read_cursor(key, question, cursor)
        asked = asked.where(tuple_(*order) < tuple_(*(literal(value) for value in place)))
    rows = list(connection.execute(asked.order_by(*(column.desc() for column in order)).limit(limit + 1)))
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], sign_cursor(key, question, list(rows[limit - 1][1 : 1 + len(order)]))
