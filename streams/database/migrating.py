"""Runs Alembic's migrations on a connection."""

from __future__ import annotations

from alembic.command import upgrade
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from streams.database.database import DatabaseError
from streams.database.sets import TableSet


def migrate_on(connection: Connection, tables: TableSet) -> None:
    """Bring a set of tables up to date, within the connection's transaction.

    Raises:
        DatabaseError: they are of a newer version.
    """
    config = Config()
    config.set_main_option("script_location", str(tables.migrations).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    known = [script.revision for script in scripts.walk_revisions()]
    if current is not None and current not in known:
        raise DatabaseError(
            f"the tables of {tables.name} are of migration {current}, and this version knows them up to {known[0]}: "
            "run the version of tes that made them, or a newer one"
        )
    if current != known[0]:
        config.attributes["connection"] = connection
        upgrade(config, "head")
