"""Indices for the lists that an operator has of all tenants, for the outcome of a command, and for waived servers."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDICES = {
    "notification_recent_all": ("notification", ["occurred_at", "tenant_id", "notification_id"]),
    "audit_recent_all": ("audit", ["occurred_at", "tenant_id", "audit_id"]),
    "audit_command": ("audit", ["tenant_id", "command_id"]),
}
WAIVED = "exempt_until IS NOT NULL OR override_until IS NOT NULL"
"""Few servers have an exception or an override: an index of these only, which a query uses that says the same."""


def upgrade() -> None:
    """Make them."""
    for index, (table, columns) in INDICES.items():
        op.create_index(index, table, columns)
    op.create_index(
        "server_waived",
        "server",
        ["tenant_id", "exempt_until", "override_until"],
        sqlite_where=text(WAIVED),
        postgresql_where=text(WAIVED),
    )
