"""Servers whose enforcement goes on: those with stages to come, the furthest first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, func, literal_column, select

from streams.domain.outputs.server_report import ServerStatus
from streams.domain.time import DAY_MS
from streams.report.queries.scopes import of_tenant
from streams.report.queries.search import LARGE
from streams.report.store.tables import NEVER, SERVER

IN_EPISODE: Final = (
    ServerStatus.BLOCKED,
    ServerStatus.THROTTLED,
    ServerStatus.MIXED,
    ServerStatus.REPORTED,
    ServerStatus.PAUSED,
)
REMEMBERED_SECONDS: Final = 10.0
MOST_STALE_SECONDS: Final = 60.0
"""Of a count that serves while the next one is made."""
MOST_REMEMBERED: Final = 1_000
"""Tenants whose counts are kept."""

_IS_COMING: Final = SERVER.c.next_at < literal_column(str(NEVER))
"""As the index of servers with stages to come says it: no parameter, since a plan has to know the value."""


class Ahead(NamedTuple):
    """So many servers of a status whose mail will be delayed and blocked on a day, whole days since 1970; or never.

    `first_blocked_at` and `last_blocked_at` are when that of the first and of the last of them will be blocked, UTC
    milliseconds.
    """

    status: str
    delayed_on: int | None
    blocked_on: int | None
    n: int
    first_blocked_at: int | None = None
    last_blocked_at: int | None = None


class AheadCounts:
    """Counts what comes. Of a large tenant, where that takes long, a count serves for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember nothing yet; `clock` returns seconds."""
        self._clock, self._lock = clock, Lock()
        self._known: dict[str, tuple[float, list[Ahead]]] = {}
        self._turns: dict[str, Lock] = {}

    def of(self, connection: Connection, tenant: str, servers: int) -> list[Ahead]:
        """See `count_ahead`; `servers` is how many the tenant has. Any thread may ask."""
        if servers < LARGE:
            return count_ahead(connection, tenant)
        with self._lock:
            counted_at, ahead = self._known.get(tenant, _NEVER)
            turn = self._turns.setdefault(tenant, Lock())
        age = self._clock() - counted_at
        if age < REMEMBERED_SECONDS:
            return ahead
        # One counts: if all did who ask meanwhile, each would make it longer for the others.
        if not turn.acquire(blocking=age >= MOST_STALE_SECONDS):
            return ahead
        try:
            return self._counted(connection, tenant)
        finally:
            turn.release()

    def _counted(self, connection: Connection, tenant: str) -> list[Ahead]:
        """Count, unless somebody else just did."""
        now = self._clock()
        with self._lock:
            counted_at, ahead = self._known.get(tenant, _NEVER)
        if now - counted_at < REMEMBERED_SECONDS:
            return ahead
        ahead = count_ahead(connection, tenant)
        with self._lock:
            self._known.pop(tenant, None)
            self._known[tenant] = (now, ahead)
            while len(self._known) > MOST_REMEMBERED:
                gone = next(iter(self._known))
                del self._known[gone]
                self._turns.pop(gone, None)
        return ahead


_NEVER: Final[tuple[float, list[Ahead]]] = (float("-inf"), [])


def count_ahead(connection: Connection, tenant: str) -> list[Ahead]:
    """All servers of a tenant with a stage to come, counted by what comes when."""
    columns = SERVER.c
    # Whole numbers are divided into whole ones by both databases.
    kinds = (
        columns.status,
        *(column.op("/")(literal_column(str(DAY_MS))) for column in (columns.delayed_at, columns.blocked_at)),
    )
    counts = (func.count(), func.min(columns.blocked_at), func.max(columns.blocked_at))
    asked = select(*kinds, *counts).where(
        of_tenant(columns.tenant_id, tenant), columns.status.in_(IN_EPISODE), _IS_COMING
    )
    return [Ahead._make(row) for row in connection.execute(asked.group_by(*kinds))]


def next_block(ahead: Iterable[Ahead], now: int) -> int | None:
    """When mail of a server that is not blocked is blocked next, UTC milliseconds.

    Of servers whose mail is blocked on the same day it is when that of the first is, or of the last where that of the
    first should be already.
    """
    coming = []
    for one in ahead:
        if one.status != ServerStatus.BLOCKED:
            coming += [at for at in (one.first_blocked_at, one.last_blocked_at) if at is not None and at > now][:1]
    return min(coming, default=None)


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
