"""Sync's side of the spool: reads what waits, and takes away what Kafka has."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from streams.edge.store.database import (
    SPOOL_FILE,
    Identity,
    format_of,
    identity_of,
    is_damaged,
    is_read_only,
    mark_damaged,
    open_shared,
    roll_back,
)
from streams.edge.store.spool_layout import COUNT, COUNT_NEW, FORGET, SPOOL, WAITING

MAX_REJECTED: Final = 100
"""Events that Kafka refused and that are kept for a person to look at; the oldest go first."""
REJECTED: Final = "rejected"
"""The counter of events that Kafka refused."""

_READ = "SELECT seq, tenant, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
_DELETE = "DELETE FROM {} WHERE seq IN ({}) RETURNING size"
_OLDEST = "SELECT seq FROM event ORDER BY seq LIMIT 1"
_REJECT = "INSERT OR REPLACE INTO rejected SELECT seq, tenant, event_id, ?, body FROM event WHERE seq = ?"
_FORGET = "DELETE FROM rejected WHERE seq NOT IN (SELECT seq FROM rejected ORDER BY seq DESC LIMIT ?)"

Found = TypeVar("Found")


class WaitingEvent(NamedTuple):
    """An event that waits; `seq` says since when, in microseconds since 1970."""

    seq: int
    tenant_id: str
    body: bytes


class Waiting(NamedTuple):
    """What waits: events, bytes of the disk, and the oldest one's `seq`."""

    events: int
    bytes: int
    oldest: int | None


NOTHING_WAITS: Final = Waiting(0, 0, None)


class SpoolReader:
    """Reads events until they are delivered. Where there is no file, nothing waits; where the disk fails, it raises."""

    def __init__(self, folder: Path) -> None:
        """Read the spool in a folder."""
        self._path = folder / SPOOL_FILE
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._identity = None

    def read(self, after: int, most: int, most_bytes: int) -> list[WaitingEvent]:
        """The oldest events behind a `seq`: at most so many, and not many more bytes.

        Raises:
            sqlite3.Error: the file cannot be read.
        """

        def read(connection: sqlite3.Connection) -> list[WaitingEvent]:
            events, size = [], 0
            for row in connection.execute(_READ, (after, most)):
                events.append(WaitingEvent(*row))
                size += len(row[2])
                if size >= most_bytes:
                    break
            return events

        return self._do(read, [])

    def remove(self, seqs: Sequence[int]) -> None:
        """Take away events that are delivered.

        Raises:
            sqlite3.Error: the file cannot be written.
        """

        def remove(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            _delete(connection, seqs)
            connection.execute("COMMIT")

        self._do(remove, None)

    def reject(self, seq: int, reason: str) -> None:
        """Move an event that Kafka refuses out of the way of the others.

        Raises:
            sqlite3.Error: the file cannot be written.
        """

        def reject(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_REJECT, (reason, seq))
            if _delete(connection, [seq]):
                connection.execute(COUNT, (REJECTED, 1))
            connection.execute(_FORGET, (MAX_REJECTED,))
            connection.execute("COMMIT")

        self._do(reject, None)

    def waiting(self) -> Waiting:
        """What waits.

        Raises:
            sqlite3.Error: the file cannot be read.
        """

        def look(connection: sqlite3.Connection) -> Waiting:
            oldest = connection.execute(_OLDEST).fetchone()
            events, size = connection.execute(WAITING).fetchone()
            return Waiting(events, size, None if oldest is None else oldest[0])

        return self._do(look, NOTHING_WAITS)

    def waiting_or_nothing(self) -> Waiting:
        """What waits; nothing where that cannot be read now."""
        try:
            return self.waiting()
        except sqlite3.Error:
            return NOTHING_WAITS

    def rejected(self) -> int:
        """How many events Kafka refused so far.

        Raises:
            sqlite3.Error: the file cannot be read.
        """

        def count(connection: sqlite3.Connection) -> int:
            row = connection.execute("SELECT value FROM counter WHERE name = ?", (REJECTED,)).fetchone()
            return 0 if row is None else int(row[0])

        return self._do(count, 0)

    def write_back(self) -> None:
        """Write the log back into the file, so that the door need not, which would wait for the disk.

        Raises:
            sqlite3.Error: the file cannot be written.
        """

        def write_back(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

        self._do(write_back, None)

    def _do(self, act: Callable[[sqlite3.Connection], Found], nothing: Found) -> Found:
        connection = self._ready()
        if connection is None:
            return nothing
        try:
            return act(connection)
        except sqlite3.Error as error:
            roll_back(connection)
            if is_damaged(error):
                mark_damaged(self._path)  # the door replaces it
            if is_damaged(error) or is_read_only(error):
                self.close()
            raise

    def _ready(self) -> sqlite3.Connection | None:
        """The door's file as it is now; None where there is none, or none that is ready."""
        found = identity_of(self._path)
        if found is None or found != self._identity:
            self.close()
            if found is None:
                return None
            try:
                connection = open_shared(self._path)
                try:
                    is_ready = format_of(connection) == SPOOL.number
                except sqlite3.Error:
                    connection.close()
                    raise
            except sqlite3.Error as error:
                if is_damaged(error):
                    mark_damaged(self._path)
                raise
            if not is_ready:
                connection.close()
                return None
            self._connection, self._identity = connection, found
        return self._connection


def _delete(connection: sqlite3.Connection, seqs: Sequence[int]) -> int:
    """Delete events; returns how many of them were still there, for the door may have dropped some."""
    connection.execute(COUNT_NEW)
    places = ",".join("?" * len(seqs))
    sizes: list[tuple[int]] = []
    for table in ("eventful", "uneventful"):
        sizes += connection.execute(_DELETE.format(table, places), seqs).fetchall()
    connection.execute(FORGET, (len(sizes), sum(size for (size,) in sizes)))
    return len(sizes)
