"""How many answers without an event each client had since its last event, counted in the spool's file."""

from __future__ import annotations

import sqlite3
from typing import Final

from streams.edge.store.spool_layout import COUNT

MAX_REFUSED: Final = 100_000
"""Clients whose answers without an event are counted; the oldest go first."""
REFUSED_AT_ONCE: Final = 1000
"""So many of them go together."""

_COUNT_ONE = "INSERT INTO refused VALUES(?, 1, ?) ON CONFLICT(client) DO UPDATE SET count = count + 1"
_DROP_OLDEST = (
    "DELETE FROM refused WHERE client IN (SELECT client FROM refused ORDER BY since LIMIT ?) RETURNING client, count"
)


class RefusedCounts:
    """The counts of one file; each method may raise `sqlite3.Error`."""

    def __init__(self, most: int = MAX_REFUSED) -> None:
        """Count for so many clients."""
        self._most = most
        # Where one client was refused, the messages of all others would have to look into the file. Hashes of 8 bytes
        # are a tenth of the keys; two clients that share one cost a look.
        self._counted: set[int] = set()

    def read(self, connection: sqlite3.Connection) -> None:
        """Look up which clients have a count, in a file that was opened."""
        self._counted = {hash(client) for (client,) in connection.execute("SELECT client FROM refused")}

    def may_have(self, client: bytes) -> bool:
        """Whether a client may have a count; where not, it has none."""
        return hash(client) in self._counted

    def of(self, connection: sqlite3.Connection, client: bytes) -> int:
        """The count of a client."""
        row = connection.execute("SELECT count FROM refused WHERE client = ?", (client,)).fetchone()
        return 0 if row is None else int(row[0])

    def add(self, connection: sqlite3.Connection, client: bytes, since: int) -> int:
        """Count one more; `since` orders clients by age. Returns how many answers of others are forgotten for that."""
        forgotten = 0
        if len(self._counted) >= self._most and not self.may_have(client):
            forgotten = self._drop_oldest(connection)
        connection.execute(_COUNT_ONE, (client, since))
        self._counted.add(hash(client))
        return forgotten

    def forget(self, connection: sqlite3.Connection, client: bytes) -> None:
        """Forget a client's count, in a transaction; `forgotten` is to be called once that is committed."""
        connection.execute("DELETE FROM refused WHERE client = ?", (client,))

    def forgotten(self, client: bytes) -> None:
        """A client has no count any more."""
        self._counted.discard(hash(client))

    def _drop_oldest(self, connection: sqlite3.Connection) -> int:
        connection.execute("BEGIN IMMEDIATE")
        dropped = connection.execute(_DROP_OLDEST, (min(REFUSED_AT_ONCE, self._most),)).fetchall()
        uncounted = sum(int(count) for _, count in dropped)
        connection.execute(COUNT, ("uncounted", uncounted))
        connection.execute("COMMIT")
        for client, _ in dropped:
            self.forgotten(client)
        return uncounted
