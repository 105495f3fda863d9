"""Looks into the spool of an edge beside the processes that use it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from streams.edge.store.database import JOURNAL_FILE
from streams.edge.store.journal import parse_frames


def events_waiting(file: Path) -> int | None:
    """How many events wait; None where that cannot be told now."""
    # First the journal: what leaves it meanwhile is in the database.
    with suppress(OSError):
        found, _ = parse_frames(file.with_name(JOURNAL_FILE).read_bytes())
        rows = _rows(file, "SELECT count(*) FROM event")
        return int(rows[0][0]) + len(found) if rows else None
    return None


def has_dropped(file: Path) -> bool:
    """Whether events were given up for newer ones."""
    return any(value for (value,) in _rows(file, "SELECT value FROM counter") or ())


def refused_left(file: Path) -> dict[str, int] | None:
    """The answers without an event that no event has told of yet, by server; None where that cannot be told now."""
    rows = _rows(file, "SELECT client, count FROM refused")
    if rows is None:
        return None
    left: dict[str, int] = {}
    for name, count in rows:
        tenant, _, _, helo = name.decode().split("\0")
        left[f"{tenant}/{helo}"] = count
    return left


def _rows(file: Path, statement: str) -> Sequence[Any] | None:
    with suppress(sqlite3.Error), _reading(file) as connection:
        return connection.execute(statement).fetchall()
    return None


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"file:{file}?mode=ro", 0.25, uri=True)
    try:
        yield connection
    finally:
        connection.close()
