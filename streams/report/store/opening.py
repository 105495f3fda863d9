"""Opens the read model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from streams.database.database import Database, open_set
from streams.database.sets import TableSet
from streams.settings.database import DatabaseSettings

READ_MODEL: Final = TableSet(
    "report",
    "the read model",
    Path(__file__).parent / "migrations",
    ("alembic_version", "consumer_offset", "server_interval"),
)
"""The tables of the report."""


def open_database(settings: DatabaseSettings) -> Database:
    """The database that the settings name; nothing is asked of it yet.

    Raises:
        SettingsError: the file with its address cannot be read, or holds none.
    """
    return open_set(settings, READ_MODEL)
