"""The tables of the read model."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, Text, UniqueConstraint, text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

OF_TENANTS = (
    "server",
    "server_interval",
    "server_day",
    "tenant_count",
    "tenant_version",
    "verdict",
    "notification",
    "audit",
    "command",
)
# Name, columns of the key, others: a capital letter for a long, a question mark for what may be null.
TABLES: dict[str, tuple[str, str]] = {
    "server_interval": (
        "tenant_id:t server:t begins_at:l",
        "ends_at:l status:t stage:i finding:t build:t? reason:t policy_id:t policy_version:i verdict_revision:i",
    ),
    "server_day": ("tenant_id:t day:i status:t stage:i", "change:l accepted:l delayed:l refused:l"),
    "tenant_count": ("tenant_id:t status:t", "n:l"),
    "tenant_version": ("tenant_id:t", "n:l"),
    "verdict": (
        "tenant_id:t server:t",
        "revision:i action:t stage:i throttle_minutes:i block_minutes:i effective_at:l partition:i source_offset:l "
        "detail:t",
    ),
    "notification": (
        "tenant_id:t notification_id:t",
        "occurred_at:l kind:t severity:t server:t? partition:i source_offset:l detail:t",
    ),
    "audit": (
        "tenant_id:t audit_id:t",
        "command_id:t? occurred_at:l kind:t outcome:t issued_by:t partition:i source_offset:l detail:t",
    ),
    "command": ("tenant_id:t command_id:t", "server:t? occurred_at:l partition:i source_offset:l"),
    "consumer_offset": ("topic:t topic_id:t partition:i", "position:l"),
    "unreadable": ("topic:t partition:i source_offset:l", "written_at:l reason:t"),
    "fact": ("name:t", "value:t"),
}
SERVER_KEY = "tenant_id:t server:t"
SERVER = (
    "urgency:i next_at:l last_seen_at:l status:t stage:i finding:t action:t identity:t build:t? build_name:t? "
    "exchange_server:t? first_seen_at:l next_throttle_minutes:i? next_block_minutes:i? remedy_name:t? remedy_kb:t? "
    "connections:l accepted:l deferred:l rejected:l paused_until:l? exempt_until:l? override_until:l? "
    "reason:t policy_id:t policy_version:i verdict_revision:i "
    "reported_at:l high_at:l high_accepted:l high_deferred:l high_rejected:l since:l partition:i "
    "source_offset:l detail:t"
)
INDICES = {
    "server_urgent": ("server", ["tenant_id", "urgency", "next_at", "server"]),
    "server_seen": ("server", ["tenant_id", "last_seen_at", "server"]),
    "notification_recent": ("notification", ["tenant_id", "occurred_at", "notification_id"]),
    "notification_server": ("notification", ["tenant_id", "server", "occurred_at"]),
    "audit_recent": ("audit", ["tenant_id", "occurred_at", "audit_id"]),
    "server_day_day": ("server_day", ["day"]),
}


def upgrade() -> None:
    """Make them."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    # The index of names refers to a server by a number, which must not change when the file is packed.
    number = [Column("id", Integer, primary_key=True)] if is_sqlite else []
    key: PrimaryKeyConstraint | UniqueConstraint = (
        UniqueConstraint("tenant_id", "server") if is_sqlite else PrimaryKeyConstraint("tenant_id", "server")
    )
    op.create_table("server", *number, *_columns(SERVER_KEY), *_columns(SERVER), key)
    for name, (key_columns, others) in TABLES.items():
        columns = _columns(key_columns)
        primary = PrimaryKeyConstraint(*(column.name for column in columns))
        # SQLite keeps short rows in the index of their key; long ones would make it deep.
        op.create_table(name, *columns, *_columns(others), primary, sqlite_with_rowid="detail:t" in others)
    for index, (table, names) in INDICES.items():
        op.create_index(index, table, names)
    (_search_in_sqlite if is_sqlite else _search_in_postgresql)()
    if not is_sqlite:
        _fence()


def _columns(described: str) -> list[Column[object]]:
    kinds = {"t": Text, "i": Integer, "l": BigInteger}
    columns: list[Column[object]] = []
    for item in described.split():
        name, kind = item.split(":")
        columns.append(Column(name, kinds[kind[0]](), nullable=kind.endswith("?"), autoincrement=False))
    return columns


def _search_in_sqlite() -> None:
    # Only which trigrams a name has, not where: whoever finds a name by all of its trigrams compares it as well. One
    # more stands for its tenant, of characters that no name has, so that a search of a tenant meets only its names.
    op.execute("CREATE TABLE tenant_number (id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL UNIQUE)")
    op.execute(
        "CREATE VIRTUAL TABLE server_search USING fts5(tenant, server, content='', tokenize='trigram', detail='none', "
        "columnsize=0)"
    )
    token = "char(57344 + id / 40960000 % 6400, 57344 + id / 6400 % 6400, 57344 + id % 6400)"
    op.execute(
        "CREATE TRIGGER server_search_insert AFTER INSERT ON server BEGIN "
        "INSERT INTO tenant_number(tenant_id) SELECT new.tenant_id "
        "WHERE NOT EXISTS (SELECT 1 FROM tenant_number WHERE tenant_id = new.tenant_id); "
        f"INSERT INTO server_search(rowid, tenant, server) SELECT new.id, {token}, new.server "
        "FROM tenant_number WHERE tenant_id = new.tenant_id; END"
    )
    op.execute(
        "CREATE TRIGGER server_search_delete AFTER DELETE ON server BEGIN "
        f"INSERT INTO server_search(server_search, rowid, tenant, server) SELECT 'delete', old.id, {token}, old.server "
        "FROM tenant_number WHERE tenant_id = old.tenant_id; END"
    )


def _search_in_postgresql() -> None:
    # Under row-level security LIKE cannot use an index, for it may leak by its errors. So names have a table of their
    # own without it, and what is found there is looked up in the fenced one. The tenant is in its index, so that a
    # search of a tenant meets only its names.
    found = text("SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = :name")
    schemas = []
    for name in ("btree_gin", "pg_trgm"):
        op.execute(f"CREATE EXTENSION IF NOT EXISTS {name} WITH SCHEMA public")
        schemas.append(op.get_bind().execute(found, {"name": name}).scalar_one())
    op.create_table("server_search", *_columns(SERVER_KEY), PrimaryKeyConstraint("tenant_id", "server"))
    columns = f'tenant_id "{schemas[0]}".text_ops, server "{schemas[1]}".gin_trgm_ops'
    op.execute(f"CREATE INDEX server_search_name ON server_search USING gin ({columns})")
    add = "INSERT INTO server_search SELECT tenant_id, server FROM changed ON CONFLICT DO NOTHING"
    remove = "DELETE FROM server_search WHERE (tenant_id, server) IN (SELECT tenant_id, server FROM changed)"
    for event, rows, statement in (("insert", "NEW", add), ("delete", "OLD", remove)):
        op.execute(
            f"CREATE FUNCTION server_search_{event}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {statement}; RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER server_search_{event} AFTER {event} ON server REFERENCING {rows} TABLE AS changed "
            f"FOR EACH STATEMENT EXECUTE FUNCTION server_search_{event}()"
        )


def _fence() -> None:
    # Forced, so that the owner of the tables is fenced too; without a tenant a transaction sees nothing.
    for table in OF_TENANTS:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_fence ON {table} USING (current_setting('app.tenant', true) IN (tenant_id, '*'))"
        )
