"""What tells one set of tables from another."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class TableSet(NamedTuple):
    """A set of tables.

    Attributes:
        name: whose it is, as in `report`. Its SQLite files begin with it, and so does the name of every right to it.
        about: what it is, as in `the read model`.
        migrations: the folder that Alembic finds its migrations in.
        marks: names of tables that together only this set has.
    """

    name: str
    about: str
    migrations: Path
    marks: tuple[str, ...]
