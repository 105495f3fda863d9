"""Lists servers in pages, counts them, and shows one with everything that is known of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Connection, func, literal, null, select, tuple_

from streams.database.database import ALL_TENANTS, Database
from streams.domain.outputs.server_report import ServerStatus
from streams.report.model.statuses import OTHER_URGENCY, URGENCY
from streams.report.queries.cursors import read_cursor, sign_cursor
from streams.report.queries.rows import SUMMARIES, Page, ServerSummary
from streams.report.queries.scopes import of_tenant
from streams.report.queries.search import check_search, contains, few_matches
from streams.report.store.tables import (
    NEVER,
    SERVER,
    SERVER_INTERVAL,
    TENANT_COUNT,
    TENANT_VERSION,
    VERDICT,
)

MOST_ROWS: Final = 1_000
"""Of a page."""
EXPORT_ROWS: Final = 2_000
"""Of an export, in one transaction."""


class Sort(StrEnum):
    """In which order servers are listed."""

    URGENCY = "urgency"
    """What needs action first, then by the next date."""
    LAST_SEEN = "last_seen"
    """The latest first."""
    NAME = "name"


class ServerFilter(NamedTuple):
    """Which servers are asked for: of these statuses (all where there are none), with a part in their names."""

    statuses: frozenset[str] = frozenset()
    search: str = ""

    @property
    def question(self) -> tuple[Any, ...]:
        """What a cursor of this filter is of."""
        return (*sorted(self.statuses), "/", self.search)


ALL_SERVERS: Final = ServerFilter()


class ServerDetail(NamedTuple):
    """One server: its report and its verdict as their records have them, and what held before, newest first."""

    summary: ServerSummary
    report: dict[str, Any]
    verdict: dict[str, Any] | None
    intervals: list[dict[str, Any]]


def count_by_status(connection: Connection, tenant: str) -> dict[str, int]:
    """How many servers have each status; statuses of none are left out."""
    columns = TENANT_COUNT.c
    counted = (
        select(columns.status, func.sum(columns.n)).where(of_tenant(columns.tenant_id, tenant)).group_by(columns.status)
    )
    return {status: int(n) for status, n in connection.execute(counted) if n}


def mixed_by_action(connection: Connection, tenant: str, names: int) -> dict[str, tuple[int, list[str]]]:
    """Servers whose status says that they are several machines, by what happens to their mail now.

    How many there are, and the names of the first few, the soonest to change first.
    """
    columns = SERVER.c
    is_mixed = (
        of_tenant(columns.tenant_id, tenant),
        columns.urgency == URGENCY[ServerStatus.MIXED],
        columns.status == ServerStatus.MIXED,
    )
    counted = select(columns.action, func.count()).where(*is_mixed).group_by(columns.action)
    first = select(columns.server).where(*is_mixed).order_by(columns.next_at, columns.server).limit(names)
    return {
        action: (int(n), list(connection.execute(first.where(columns.action == action)).scalars()))
        for action, n in connection.execute(counted).all()
    }


def version_of(connection: Connection, tenant: str) -> int:
    """A number that grows with whatever changes what is shown of a tenant: that is the same while this is."""
    columns = TENANT_VERSION.c
    return int(
        connection.execute(select(func.sum(columns.n)).where(of_tenant(columns.tenant_id, tenant))).scalar() or 0
    )


def list_servers(
    connection: Connection,
    tenant: str,
    *,
    key: bytes,
    wanted: ServerFilter = ALL_SERVERS,
    sort: Sort = Sort.URGENCY,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[ServerSummary]:
    """A page of servers.

    Args:
        connection: of a reading transaction of this tenant.
        tenant: whose servers, or `ALL_TENANTS`.
        key: that signs cursors.
        wanted: which of them.
        sort: in which order.
        limit: how many at most, up to `MOST_ROWS`.
        cursor: of the page before, None for the first one.

    Raises:
        CursorError: the cursor is of another question, or not of this service.
        ValueError: the limit is not from 1 to `MOST_ROWS`, a status is unknown, or no name has what is searched.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise ValueError(f"limit: {limit}: must be from 1 to {MOST_ROWS}")
    check_search(wanted.search)
    question = ("servers", tenant, sort.value, *wanted.question)
    place = None if cursor is None else read_cursor(key, question, cursor)
    rows = _listed(connection, tenant, wanted, sort, place, limit + 1)
    if len(rows) <= limit:
        return Page(rows, None)
    return Page(rows[:limit], sign_cursor(key, question, _sort_key(rows[limit - 1], sort, tenant)))


def _listed(
    connection: Connection, tenant: str, wanted: ServerFilter, sort: Sort, place: Sequence[Any] | None, limit: int
) -> list[ServerSummary]:
    """The first servers behind a place."""
    ranks, conditions = _ranks(wanted.statuses), [of_tenant(SERVER.c.tenant_id, tenant)]
    if wanted.search:
        few = few_matches(connection, tenant, wanted.search)
        if few is not None:
            return _few(connection, tenant, few, ranks, sort, place)[:limit]
        conditions.append(contains(connection, wanted.search))
    if sort is Sort.URGENCY:
        return _by_urgency(connection, tenant, conditions, ranks, place, limit)
    if wanted.statuses:
        conditions.append(SERVER.c.urgency.in_(ranks))
    is_falling = sort is Sort.LAST_SEEN
    return _in_order(connection, conditions, _order(sort, tenant), place, limit, is_falling=is_falling)


def _few(
    connection: Connection,
    tenant: str,
    keys: Sequence[tuple[str, str]],
    ranks: Collection[int],
    sort: Sort,
    place: Sequence[Any] | None,
) -> list[ServerSummary]:
    """All of some servers that are behind a place, in order."""
    names = SERVER.c.server.in_([server for _, server in keys])
    found = connection.execute(SUMMARIES.where(of_tenant(SERVER.c.tenant_id, tenant), names))
    wanted = set(keys)
    rows = [row for row in map(ServerSummary._make, found) if _rank(row) in ranks and row[:2] in wanted]
    keyed = sorted(((_sort_key(row, sort, tenant), row) for row in rows), reverse=sort is Sort.LAST_SEEN)
    if place is None:
        return [row for _, row in keyed]
    behind = list(place)
    return [row for key, row in keyed if (key < behind if sort is Sort.LAST_SEEN else key > behind)]


def show_server(connection: Connection, tenant: str, server: str) -> ServerDetail | None:
    """One server of a tenant; None where it has none of this name."""
    here = (SERVER.c.tenant_id == tenant, SERVER.c.server == server)
    row = connection.execute(SUMMARIES.add_columns(SERVER.c.detail, VERDICT.c.detail).where(*here)).first()
    if row is None:
        return None
    *summary, report, verdict = row
    return ServerDetail(
        ServerSummary._make(summary),
        orjson.loads(report),
        None if verdict is None else orjson.loads(verdict),
        intervals_of(connection, tenant, server),
    )


def intervals_of(connection: Connection, tenant: str, server: str) -> list[dict[str, Any]]:
    """What held about a server from when to when, newest first; the one that holds now has no end.

    Neighbours that say the same are one: between them a worker wrote its reports again.
    """
    columns = SERVER_INTERVAL.c
    ended = select(columns.begins_at, columns.ends_at, *(columns[name] for name in _FACTS))
    held = select(SERVER.c.since, null(), *(SERVER.c[name] for name in _FACTS))
    rows = [
        *connection.execute(ended.where(columns.tenant_id == tenant, columns.server == server)),
        *connection.execute(held.where(SERVER.c.tenant_id == tenant, SERVER.c.server == server)),
    ]
    names = ("begins_at", "ends_at", *_FACTS)
    intervals = [dict(zip(names, row, strict=True)) for row in rows]
    joined: list[dict[str, Any]] = []
    for row in sorted(intervals, key=lambda one: int(one["begins_at"])):
        before = joined[-1] if joined else None
        if before is not None and before["ends_at"] == row["begins_at"] and _says(before) == _says(row):
            joined[-1] = {**row, "begins_at": before["begins_at"]}
        else:
            joined.append(row)
    return joined[::-1]


_FACTS: Final = ("status", "stage", "finding", "build", "reason", "policy_id", "policy_version", "verdict_revision")


def _says(interval: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(interval[name] for name in _FACTS[:4])


def export_servers(
    database: Database, tenant: str, *, wanted: ServerFilter = ALL_SERVERS, rows: int = EXPORT_ROWS
) -> Iterator[list[ServerSummary]]:
    """All servers of a tenant in the order of their names, some thousands at a time.

    Each part is a transaction of its own: a long one would keep the database from tidying up. What changes meanwhile
    may be shown as it was or as it is; no server is left out or shown twice.

    Raises:
        ValueError: a status is unknown, or no name has what is searched.
    """
    check_search(wanted.search)
    place: list[Any] | None = None
    while True:
        with database.reading(tenant) as connection:
            found = _listed(connection, tenant, wanted, Sort.NAME, place, rows)
        if found:
            yield found
        if len(found) < rows:
            return
        place = _sort_key(found[-1], Sort.NAME, tenant)


def _ranks(statuses: Collection[str]) -> list[int]:
    """The urgencies of some statuses, of all where there are none, most urgent first.

    Raises:
        ValueError: one is unknown.
    """
    unknown = [status for status in statuses if status not in URGENCY]
    if unknown:
        raise ValueError(f"status: {unknown[0][:80]!r:.100}: must be one of {', '.join(URGENCY)}")
    return sorted(URGENCY[status] for status in statuses) or [*sorted(URGENCY.values()), OTHER_URGENCY]


def _order(sort: Sort, tenant: str) -> list[Any]:
    """The columns by which rows are told apart, in order; of all tenants the tenant is one of them."""
    name = [SERVER.c.tenant_id, SERVER.c.server] if tenant == ALL_TENANTS else [SERVER.c.server]
    if sort is Sort.URGENCY:
        return [SERVER.c.next_at, *name]
    return [SERVER.c.last_seen_at, *name] if sort is Sort.LAST_SEEN else name


def _by_urgency(
    connection: Connection,
    tenant: str,
    conditions: Sequence[ColumnElement[bool]],
    ranks: Sequence[int],
    place: Sequence[Any] | None,
    limit: int,
) -> list[ServerSummary]:
    """Rows of one urgency after the other, each in the order of an index."""
    rows: list[ServerSummary] = []
    for rank in ranks:
        if place is not None and rank < place[0]:
            continue
        behind = place[1:] if place is not None and rank == place[0] else None
        here = [*conditions, SERVER.c.urgency == rank]
        order = _order(Sort.URGENCY, tenant)
        rows += _in_order(connection, here, order, behind, limit - len(rows), is_falling=False)
        if len(rows) >= limit:
            break
    return rows


def _in_order(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    order: Sequence[Any],
    place: Sequence[Any] | None,
    limit: int,
    *,
    is_falling: bool,
) -> list[ServerSummary]:
    conditions = list(conditions)
    if place is not None:
        here, there = tuple_(*order), tuple_(*(literal(value) for value in place))
        conditions.append(here < there if is_falling else here > there)
    by = [column.desc() if is_falling else column for column in order]
    asked = SUMMARIES.where(*conditions).order_by(*by).limit(limit)
    return [ServerSummary._make(row) for row in connection.execute(asked)]


def _rank(row: ServerSummary) -> int:
    return URGENCY.get(row.status, OTHER_URGENCY)


def _sort_key(row: ServerSummary, sort: Sort, tenant: str) -> list[Any]:
    """What a row is sorted by."""
    key = [getattr(row, column.name) for column in _order(sort, tenant)]
    if sort is Sort.URGENCY:
        return [_rank(row), NEVER if row.next_at is None else row.next_at, *key[1:]]
    return key
