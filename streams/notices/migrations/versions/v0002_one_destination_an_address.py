"""A tenant has one destination for each address. Those that were made twice before stay as they are."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text, text

from streams.domain.ids import stable_id

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what tells addresses apart, for every destination in use but contacts of connectors."""
    op.add_column("destination", Column("address_key", Text(), nullable=True))
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        # Without a tenant a transaction sees no rows.
        connection.execute(text("SELECT set_config('app.tenant', '*', true)"))
    asked = (
        "SELECT tenant_id, destination_id, kind, address FROM destination "
        "WHERE state <> 'REMOVED' AND origin <> 'CONNECTOR' "
        "ORDER BY CASE state WHEN 'ACTIVE' THEN 0 WHEN 'PARKED' THEN 1 ELSE 2 END, created_at, destination_id"
    )
    known: set[tuple[str, str]] = set()
    for tenant, destination_id, kind, address in connection.execute(text(asked)).all():
        key = stable_id(f"address/{kind}/{address}")
        if (tenant, key) not in known:
            known.add((tenant, key))
            change = "UPDATE destination SET address_key = :key WHERE tenant_id = :tenant AND destination_id = :one"
            connection.execute(text(change), {"key": key, "tenant": tenant, "one": destination_id})
    op.create_index("destination_address", "destination", ["tenant_id", "address_key"], unique=True)
