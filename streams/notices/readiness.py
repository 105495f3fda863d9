"""Whether there is a ledger: who only looks at it makes none."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from streams.database.database import Database
from streams.database.sqlite import SqliteDatabase
from streams.notices.facts import began_at

_UNDEFINED_TABLE: Final = "42P01"


def has_file(database: Database) -> bool:
    """Whether a ledger in a file has one; opening it would make an empty one."""
    return not isinstance(database, SqliteDatabase) or database.file.exists()


def has_begun(connection: Connection) -> bool:
    """Whether whoever sends notices has ever run here.

    Raises:
        DBAPIError: the database does not answer, or `is_unmade`.
    """
    return began_at(connection) > 0


def is_unmade(error: DBAPIError) -> bool:
    """Whether an error says that the tables were never made."""
    cause = error.orig
    return getattr(cause, "sqlstate", None) == _UNDEFINED_TABLE or str(cause).startswith("no such table")
