"""When each server's mail will be delayed and blocked, so that what comes is counted without reading reports."""

from __future__ import annotations

import json

from alembic import op
from sqlalchemy import BigInteger, Column, text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NEVER = 2**53 - 1
ROWS_AT_ONCE = 2_000
COMING = f"next_at < {NEVER}"
COLUMNS = "tenant_id, stage DESC, next_at, server, status, delayed_at, blocked_at"
"""In the order in which servers with stages to come are listed, with all that is counted of them."""


def upgrade() -> None:
    """Make columns and index, and fill them from the reports that are there."""
    for name in ("delayed_at", "blocked_at"):
        op.add_column("server", Column(name, BigInteger(), nullable=True))
    if op.get_bind().dialect.name != "sqlite":
        op.execute("SELECT set_config('app.tenant', '*', true)")  # the fence holds for its maker too
    _fill()
    op.execute(f"CREATE INDEX server_coming ON server ({COLUMNS}) WHERE {COMING}")


def _fill() -> None:
    connection, place = op.get_bind(), ("", "")
    some = text(
        f"SELECT tenant_id, server, detail FROM server WHERE {COMING} AND (tenant_id, server) > (:tenant, :server) "
        f"ORDER BY tenant_id, server LIMIT {ROWS_AT_ONCE}"
    )
    put = text(
        "UPDATE server SET delayed_at = :delayed_at, blocked_at = :blocked_at "
        "WHERE tenant_id = :tenant AND server = :server"
    )
    while rows := connection.execute(some, {"tenant": place[0], "server": place[1]}).all():
        connection.execute(put, [{"tenant": row[0], "server": row[1], **_moments(row[2])} for row in rows])
        place = (rows[-1][0], rows[-1][1])


def _moments(detail: str) -> dict[str, int | None]:
    found: dict[str, int | None] = {"delayed_at": None, "blocked_at": None}
    for stage in json.loads(detail).get("schedule", ()):
        name = "blocked_at" if stage["block_minutes_per_hour"] else "delayed_at"
        if found[name] is None and (stage["block_minutes_per_hour"] or stage["throttle_minutes_per_hour"]):
            found[name] = stage["starts_at"]
    return found
