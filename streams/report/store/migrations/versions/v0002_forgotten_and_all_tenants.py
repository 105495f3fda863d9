"""Marks of forgotten servers, the order of all tenants' servers, and a fence around their names."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MARKS = ("forgotten_at", "high_at", "high_accepted", "high_deferred", "high_rejected")
INDICES = {
    "server_urgent_all": ["urgency", "next_at", "tenant_id", "server"],
    "server_seen_all": ["last_seen_at", "tenant_id", "server"],
}


def upgrade() -> None:
    """Make them."""
    key = [Column(name, Text(), nullable=False) for name in ("tenant_id", "server")]
    marks = [Column(name, BigInteger(), nullable=False) for name in MARKS]
    op.create_table(
        "server_forgotten", *key, *marks, PrimaryKeyConstraint("tenant_id", "server"), sqlite_with_rowid=False
    )
    for index, columns in INDICES.items():
        op.create_index(index, "server", columns)
    if op.get_bind().dialect.name != "sqlite":
        _fence("server_forgotten", "current_setting('app.tenant', true) IN (tenant_id, '*')")
        # LIKE is not leakproof: behind a fence it could use no index. So what is searched is part of the fence.
        _fence(
            "server_search",
            "current_setting('app.tenant', true) IN (tenant_id, '*') "
            "AND server LIKE coalesce(nullif(current_setting('app.search', true), ''), '%')",
        )


def _fence(table: str, condition: str) -> None:
    # Forced, so that the owner of the tables is fenced too; without a tenant a transaction sees nothing.
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant_fence ON {table} USING ({condition})")
