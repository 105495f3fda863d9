"""Sync's side of the verdicts: writes them together with the positions up to which they are known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.edge.store.database import (
    VERDICTS_FILE,
    VERSION_FILE,
    Identity,
    identity_of,
    is_damaged,
    is_read_only,
    mark_damaged,
    mark_of,
    open_own,
    roll_back,
)
from streams.edge.store.table_layout import (
    BEGUN_AT,
    COMPLETE_AT,
    CONFIRMED_AT,
    CONNECTORS_VERSION,
    IS_LOADING,
    SOURCE,
    TABLE,
    VERDICT_TABLE,
)
from streams.edge.store.version import VersionWriter

_SET = "INSERT INTO status VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value"
_PUT = "INSERT INTO {} VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
_REMOVE = "DELETE FROM {} WHERE key = ?"
_MOVE = "INSERT INTO position VALUES(?, ?) ON CONFLICT(partition) DO UPDATE SET next_offset = excluded.next_offset"


class TableReplacedError(RuntimeError):
    """The file is not the one that was opened, or is damaged: it must be opened again, and read from the beginning."""


class VerdictTable:
    """Writes verdicts, connectors and facts. Each call is one transaction, and raises where the disk fails."""

    def __init__(self, folder: Path) -> None:
        """Write the file in a folder."""
        self._path = folder / VERDICTS_FILE
        self._version = VersionWriter(folder / VERSION_FILE)
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        self.openings = 0
        """How often it was opened: it may have been another file each time."""

    def open(self) -> None:
        """Open the file, or make it; one that cannot be read is set aside.

        Raises:
            sqlite3.Error: it can be neither read nor made.
            OSError: its folder cannot be made, or a damaged file cannot be moved.
        """
        self.close()
        self._connection = open_own(self._path, TABLE)
        self._identity = identity_of(self._path)
        self.openings += 1

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._identity = None

    @property
    def is_whole(self) -> bool:
        """Whether the file is still the one that was opened, and nobody found it damaged."""
        return identity_of(self._path) == self._identity is not None and not mark_of(self._path).exists()

    def status(self) -> dict[str, Any]:
        """The facts, by the names in `table_layout`."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT name, value FROM status"))

    def set_status(self, facts: Mapping[str, int | str | None]) -> None:
        """Write facts; None takes one away."""
        with self._writing() as connection:
            connection.executemany(_SET, facts.items())

    def positions(self) -> dict[int, int]:
        """The next offset of each partition that was read."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT partition, next_offset FROM position"))

    def begin(self, source: str, now: int) -> None:
        """Begin to read a topic from its beginning; `now` in UTC milliseconds.

        The verdicts of another topic are gone with this.
        """
        is_same = self.status().get(SOURCE) == source
        with self._writing() as connection:
            connection.execute("DELETE FROM position")
            _recreate(connection, "incoming")
            facts: dict[str, int | str | None] = {SOURCE: source, IS_LOADING: 1, BEGUN_AT: now}
            if not is_same:
                _recreate(connection, "verdict")
                facts |= {COMPLETE_AT: None, CONFIRMED_AT: None}
            connection.executemany(_SET, facts.items())

    def write(self, changes: Mapping[bytes, bytes | None], positions: Mapping[int, int], *, is_loading: bool) -> None:
        """Put the verdicts of some keys, where None removes one, and the next offset of each partition behind them."""
        table = "incoming" if is_loading else "verdict"
        with self._writing() as connection:
            self._put(connection, table, changes)
            connection.executemany(_MOVE, positions.items())

    def complete(self) -> None:
        """What was read from the beginning takes the place of what was there."""
        with self._writing() as connection:
            connection.execute("DROP TABLE verdict")
            connection.execute("ALTER TABLE incoming RENAME TO verdict")
            connection.execute(VERDICT_TABLE.format("incoming"))
            connection.execute(_SET, (IS_LOADING, 0))

    def connectors(self) -> dict[bytes, bytes]:
        """The connectors by key."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT key, value FROM connector"))

    def write_connectors(self, changes: Mapping[bytes, bytes | None], now: int) -> None:
        """Put the connectors of some keys, where None removes one; `now` in UTC milliseconds numbers them."""
        version = int(self.status().get(CONNECTORS_VERSION) or 0)
        with self._writing() as connection:
            self._put(connection, "connector", changes)
            connection.execute(_SET, (CONNECTORS_VERSION, max(version + 1, now)))

    @staticmethod
    def _put(connection: sqlite3.Connection, table: str, changes: Mapping[bytes, bytes | None]) -> None:
        connection.executemany(_REMOVE.format(table), ((key,) for key, value in changes.items() if value is None))
        put = ((key, value) for key, value in changes.items() if value is not None)
        connection.executemany(_PUT.format(table), put)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        if connection is None or not self.is_whole:
            raise TableReplacedError(f"{self._path}: is not the file that was opened, or is damaged")
        try:
            yield connection
        except sqlite3.Error as error:
            roll_back(connection)
            if is_damaged(error):
                mark_damaged(self._path)
            if is_read_only(error):
                self.close()
            raise

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                roll_back(connection)
                raise
            self._version.change()


def _recreate(connection: sqlite3.Connection, table: str) -> None:
    connection.execute(f"DROP TABLE {table}")
    connection.execute(VERDICT_TABLE.format(table))
