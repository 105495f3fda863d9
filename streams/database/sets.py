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
        is_rebuilt: whether it can be made anew from what it was read from. Then its newest rows may be lost with the
            power, and another set may take its place; else it is neither.
    """

    name: str
    about: str
    migrations: Path
    marks: tuple[str, ...]
    is_rebuilt: bool = True
