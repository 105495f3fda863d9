"""Opens the ledger of notices."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from streams.database.database import Database, open_set
from streams.database.sets import TableSet
from streams.settings.database import DatabaseSettings

LEDGER: Final = TableSet(
    "notices",
    "the ledger of notices",
    Path(__file__).parent / "migrations",
    ("alembic_version", "consumer_offset", "lane"),
    is_rebuilt=False,
)
"""Beside the tables of the report: a rebuild replaces those whole, and this is never made anew."""


def open_ledger(settings: DatabaseSettings) -> Database:
    """The ledger in the database that the settings name; nothing is asked of it yet.

    Raises:
        SettingsError: the file with its address cannot be read, or holds none.
    """
    return open_set(settings, LEDGER)
