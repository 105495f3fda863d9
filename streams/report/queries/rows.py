"""What queries give; moments in UTC milliseconds."""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, TypeVar

from sqlalchemy import and_, func, null, outerjoin, select

from streams.report.store.tables import NEVER, SERVER, VERDICT

Row = TypeVar("Row")


class ServerSummary(NamedTuple):
    """A row of the list of servers. Rates are minutes of each hour, of now by the verdict in force."""

    tenant_id: str
    server: str
    status: str
    stage: int
    finding: str
    action: str
    identity: str
    build: str | None
    build_name: str | None
    exchange_server: str | None
    next_at: int | None
    next_throttle_minutes: int | None
    next_block_minutes: int | None
    throttle_minutes: int | None
    block_minutes: int | None
    remedy_name: str | None
    remedy_kb: str | None
    first_seen_at: int
    last_seen_at: int
    connections: int
    accepted: int
    deferred: int
    rejected: int
    paused_until: int | None
    exempt_until: int | None
    override_until: int | None
    reason: str
    since: int
    reported_at: int


_OTHERS: Final = {
    "next_at": func.nullif(SERVER.c.next_at, NEVER),
    "throttle_minutes": VERDICT.c.throttle_minutes,
    "block_minutes": VERDICT.c.block_minutes,
}
_COLUMNS: Final = [_OTHERS.get(name, SERVER.c.get(name, null())) for name in ServerSummary._fields]
SUMMARIES: Final = select(*_COLUMNS).select_from(
    outerjoin(SERVER, VERDICT, and_(SERVER.c.tenant_id == VERDICT.c.tenant_id, SERVER.c.server == VERDICT.c.server))
)
"""Every server, its columns those of a `ServerSummary`."""


class Page(NamedTuple, Generic[Row]):
    """Rows, and the cursor behind the last one; None where there are no more."""

    rows: list[Row]
    cursor: str | None
