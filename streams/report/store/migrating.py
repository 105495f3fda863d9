"""Runs Alembic's migrations on a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic.command import upgrade
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from streams.report.store.database import DatabaseError

_FOLDER: Final = Path(__file__).parent / "migrations"


def migrate_on(connection: Connection) -> None:
    """Bring the tables up to date, within the connection's transaction.

    Raises:
        DatabaseError: they are of a newer version.
    """
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    known = [script.revision for script in scripts.walk_revisions()]
    if current is not None and current not in known:
        raise DatabaseError(
            f"the report's tables are of migration {current}, and this version knows them up to {known[0]}: "
            "run the version of tes that made them, or a newer one"
        )
    if current != known[0]:
        config.attributes["connection"] = connection
        upgrade(config, "head")
