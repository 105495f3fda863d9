"""The tables of the ledger."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, Text, text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

OF_TENANTS = ("destination", "subscription", "lane", "notice", "delivery", "message", "attempt")
# Name, columns of the key, others: l is for a long, a question mark for what may be null.
TABLES: dict[str, tuple[str, str]] = {
    "destination": (
        "tenant_id:t destination_id:t",
        "kind:t name:t address:t origin:t state:t secret:t former_secret:t former_secret_until:l? language:t zone:t "
        "created_at:l created_by:t confirmed_at:l? parked_at:l? parked_why:t? challenge:t challenge_until:l",
    ),
    "subscription": (
        "tenant_id:t subscription_id:t",
        "destination_id:t kinds:t? least_severity:t servers:t? digest:t daily_at:i quiet_from:i? quiet_to:i? "
        "is_quiet_for_critical:i created_at:l created_by:t",
    ),
    "lane": (
        "tenant_id:t destination_id:t",
        "kind:t due_at:l grouping_since:l? grouped:i lease_owner:t? lease_until:l fence:l failures:i failing_since:l?",
    ),
    "notice": (
        "tenant_id:t notification_id:t",
        "kind:t severity:t server:t? stage:i? occurred_at:l written_at:l deliveries:i partition:i source_offset:l "
        "detail:t",
    ),
    "delivery": (
        "tenant_id:t destination_id:t notification_id:t",
        "notice_tenant:t subscription_id:t state:t severity:t is_together:i routed_at:l due_at:l message_id:t? "
        "ended_at:l? why:t?",
    ),
    "message": (
        "tenant_id:t message_id:t",
        "destination_id:t form:t state:t notices:i made_at:l attempts:i next_attempt_at:l last_code:i? last_outcome:t? "
        "last_why:t? ended_at:l?",
    ),
    "attempt": ("tenant_id:t message_id:t number:i at:l", "ended_at:l outcome:t code:i? why:t"),
    "consumer_offset": ("topic:t topic_id:t partition:i", "position:l"),
    "unreadable": ("topic:t partition:i source_offset:l", "written_at:l reason:t"),
    "fact": ("name:t", "value:t"),
}
INDICES: dict[str, tuple[str, list[str], str]] = {
    "subscription_destination": ("subscription", ["tenant_id", "destination_id"], ""),
    "lane_due": ("lane", ["due_at"], ""),
    "notice_server": ("notice", ["tenant_id", "server", "kind"], ""),
    "notice_recent": ("notice", ["tenant_id", "occurred_at", "notification_id"], ""),
    "notice_unrouted": ("notice", ["written_at"], "deliveries = 0"),
    "notice_old": ("notice", ["occurred_at"], ""),
    "delivery_notice": ("delivery", ["notice_tenant", "notification_id"], ""),
    "delivery_recent": ("delivery", ["tenant_id", "routed_at", "notification_id", "destination_id"], ""),
    "delivery_open": ("delivery", ["destination_id", "due_at"], "ended_at IS NULL"),
    "delivery_old": ("delivery", ["ended_at"], ""),
    "message_open": ("message", ["destination_id", "made_at"], "ended_at IS NULL"),
    "message_id": ("message", ["message_id"], ""),
    "message_asked": ("message", ["tenant_id", "form", "made_at"], "notices = 0"),
    "message_recent": ("message", ["tenant_id", "destination_id", "made_at"], ""),
    "message_old": ("message", ["ended_at"], ""),
    "delivery_message": ("delivery", ["message_id"], ""),
    "destination_id": ("destination", ["destination_id"], ""),
    "lane_id": ("lane", ["destination_id"], ""),
    "attempt_old": ("attempt", ["at"], ""),
}


def upgrade() -> None:
    """Make them."""
    for name, (key_columns, others) in TABLES.items():
        columns = _columns(key_columns)
        primary = PrimaryKeyConstraint(*(column.name for column in columns))
        op.create_table(name, *columns, *_columns(others), primary, sqlite_with_rowid="detail:t" in others)
    for index, (table, names, where) in INDICES.items():
        only = text(where) if where else None
        op.create_index(index, table, names, sqlite_where=only, postgresql_where=only)
    if op.get_bind().dialect.name != "sqlite":
        _fence()


def _columns(described: str) -> list[Column[object]]:
    kinds = {"t": Text, "i": Integer, "l": BigInteger}
    columns: list[Column[object]] = []
    for item in described.split():
        name, kind = item.split(":")
        columns.append(Column(name, kinds[kind[0]](), nullable=kind.endswith("?"), autoincrement=False))
    return columns


def _fence() -> None:
    # Forced, so that the owner of the tables is fenced too; without a tenant a transaction sees nothing.
    for table in OF_TENANTS:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_fence ON {table} USING (current_setting('app.tenant', true) IN (tenant_id, '*'))"
        )
