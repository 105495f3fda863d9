"""Names that are searched are added by the writer, many at once; triggers add those of an older version's writer."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Have the triggers leave what the writer adds."""
    if op.get_bind().dialect.name == "sqlite":
        _in_sqlite()
    else:
        _in_postgresql()


def _in_sqlite() -> None:
    # It has a row while a transaction adds the names of its servers by itself, and never behind it.
    op.execute("CREATE TABLE server_names_added (is_so INTEGER NOT NULL)")
    op.execute("DROP TRIGGER server_search_insert")
    token = "char(57344 + id / 40960000 % 6400, 57344 + id / 6400 % 6400, 57344 + id % 6400)"
    op.execute(
        "CREATE TRIGGER server_search_insert AFTER INSERT ON server "
        "WHEN NOT EXISTS (SELECT 1 FROM server_names_added) BEGIN "
        "INSERT INTO tenant_number(tenant_id) SELECT new.tenant_id "
        "WHERE NOT EXISTS (SELECT 1 FROM tenant_number WHERE tenant_id = new.tenant_id); "
        f"INSERT INTO server_search(rowid, tenant, server) SELECT new.id, {token}, new.server "
        "FROM tenant_number WHERE tenant_id = new.tenant_id; END"
    )


def _in_postgresql() -> None:
    # One for all rows of a statement would have the server keep a copy of each, whether it adds its name or not.
    op.execute("DROP TRIGGER server_search_insert ON server")
    op.execute(
        "CREATE OR REPLACE FUNCTION server_search_insert() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO server_search(tenant_id, server) VALUES (NEW.tenant_id, NEW.server) "
        "ON CONFLICT DO NOTHING; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER server_search_insert AFTER INSERT ON server FOR EACH ROW "
        "WHEN (coalesce(current_setting('app.names_added', true), '') = '') "
        "EXECUTE FUNCTION server_search_insert()"
    )
