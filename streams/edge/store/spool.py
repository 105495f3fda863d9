"""The door's side of the spool: stores events with one commit, and keeps the file within its bound."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from streams.edge.ports import SpooledEvent
from streams.edge.store.database import (
    BUSY_SECONDS,
    IMPATIENT_SECONDS,
    SPOOL_FILE,
    Identity,
    identity_of,
    is_damaged,
    is_full,
    is_locked,
    is_read_only,
    mark_damaged,
    mark_of,
    open_own,
    roll_back,
    wait_for_lock,
)
from streams.edge.store.journal import NumberedEvent
from streams.edge.store.spool_layout import COUNT, COUNT_NEW, LAST, SPOOL, WAITING, disk_bytes
from streams.edge.store.spool_refused import MAX_REFUSED, RefusedCounts
from streams.edge.store.spool_room import make_room
from streams.log_events import log_event

log = logging.getLogger(__name__)

SPARE_SHARE: Final = 64
"""Where room must be made, this part of the bound becomes free too, so that it costs little for each event."""
FREED_BYTES: Final = 256 << 10
"""Where the disk is full, so much is given up at once."""
RETRY_SECONDS: Final = 1.0
"""How often a spool that fails is tried otherwise than by an append."""
LOOK_SECONDS: Final = 0.05
"""How often the file is looked for: what goes into one that was deleted is lost with all that was in it."""
COUNTED_AT_ONCE: Final = 256
"""Events that are stored between two counts of them."""

_INSERT: Final = {
    True: "INSERT INTO eventful VALUES(?, ?, ?, ?, ?)",
    False: "INSERT INTO uneventful VALUES(?, ?, ?, ?, ?)",
}


class SpoolWriter:
    """Stores events until Kafka has them. No failure of the disk comes out of it: events that are lost are counted.

    `dropped` tells how many are gone, by reason: `uneventful` and `eventful` ones made room for newer ones, for
    `unstored` ones the disk had none; `uncounted` answers without an event are forgotten, as too many clients had some.
    """

    def __init__(
        self,
        folder: Path,
        bound_bytes: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_refused: int = MAX_REFUSED,
    ) -> None:
        """Store events in a folder.

        Args:
            folder: where the file is, or is made.
            bound_bytes: of the disk that waiting events take.
            clock: returns seconds.
            max_refused: see `MAX_REFUSED`.
        """
        self._path, self._bound = folder / SPOOL_FILE, bound_bytes
        self._clock, self._refused = clock, RefusedCounts(max_refused)
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        self._bytes = self._last_seq = self._stored_to = self._uncounted = 0
        self._look_at = self._room_at = self._seen_at = float("-inf")
        self._is_failing = False
        self._dropped: Counter[str] = Counter()
        self._unstored = 0

    def open(self) -> None:
        """Open the file, so that the first event need not; where that fails, the next events try again."""
        try:
            self._ready()
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._fail(error)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._identity = None
        self._look_at = float("-inf")

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many are gone, by reason: see the class."""
        return {**self._dropped, "unstored": self._unstored}

    def waiting(self) -> tuple[int, int]:
        """How many events wait, and how many bytes of the disk they take."""
        try:
            connection = self._ready()
            row = None if connection is None else connection.execute(WAITING).fetchone()
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._fail(error)
            row = None
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def refused(self, client: bytes) -> int:
        """How many answers without an event a client had since its last event."""
        try:
            if (connection := self._ready()) is None or not self._refused.may_have(client):
                return 0
            return self._refused.of(connection, client)
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._fail(error)
            return 0

    def count_refused(self, client: bytes) -> None:
        """Count one more answer without an event."""
        try:
            if (connection := self._ready()) is not None:
                seq = self._next_seq()
                self._dropped["uncounted"] += self._refused.add(connection, client, seq)
                self._last_seq = seq
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._fail(error)

    def append(self, event: SpooledEvent, counted: bytes | None = None) -> bool:
        """Commit an event, and with it forget what was counted for a client; returns whether it is stored."""
        return self._append_or_lose(event, counted)

    def _append_or_lose(self, event: SpooledEvent, counted: bytes | None, seq: int | None = None) -> bool:
        try:
            connection = self._ready()
            if connection is None:
                self._unstored += 1
                return False
            is_stored = self._append(connection, event, counted, seq)
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._fail(error)
            is_stored = self._append_in_new_room(event, counted, seq, error)
        if is_stored and self._is_failing:
            self._recover()
        return is_stored

    def append_all(self, events: Sequence[SpooledEvent]) -> Sequence[SpooledEvent]:
        """Commit events together; returns those that are not stored."""
        if len(events) > 1 and self._append_together(events):
            return []
        return [event for event in events if not self.append(event)]

    def _append_together(self, events: Sequence[SpooledEvent]) -> bool:
        """Whether all are stored; where they are not, none of them is."""
        try:
            connection = self._ready()
            size = sum([size_of(event) for event in events])
            if connection is None or self._is_failing or self._bytes + size > self._bound:
                return False
            seq = self._next_seq()
            self._insert_all(connection, [NumberedEvent(seq + number, event) for number, event in enumerate(events)])
        except Exception as error:  # noqa: BLE001 - each is tried by itself then
            self._fail(error)
            return False
        return True

    def reserve(self, events: int, size: int) -> int | None:
        """The number of the first of some events that `store` is to get.

        None where they would not all find room, with `size` bytes that are to come; or the file cannot be opened.
        """
        try:
            if self._ready() is None or self._bytes + size > self._bound:
                return None
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._fail(error)
            return None
        seq = self._next_seq()
        self._last_seq = seq + events - 1
        return seq

    def store(self, items: Sequence[NumberedEvent]) -> Sequence[SpooledEvent] | None:
        """Commit events under their numbers, which rise; those that are stored already are left out.

        Returns those that are lost; None where none can be stored now, and that may pass.
        """
        self._last_seq = max(self._last_seq, items[-1].seq)
        try:
            connection = self._ready()
            if connection is None:
                return None
            items = [item for item in items if item.seq > self._stored_to]
            self._insert_all(connection, items)
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._fail(error)
            if is_locked(error) or self._connection is None:
                return None
            return [item.event for item in items if not self._append_or_lose(item.event, None, item.seq)]
        if self._is_failing:
            self._recover()
        return []

    def lose(self, events: int) -> None:
        """Count events that could not be stored."""
        self._unstored += events

    def _insert_all(self, connection: sqlite3.Connection, items: Sequence[NumberedEvent]) -> None:
        if not items:
            return
        connection.execute("BEGIN IMMEDIATE")
        total = 0
        for seq, event in items:
            size = size_of(event)
            self._insert(connection, event, seq, size)
            total += size
        connection.execute("COMMIT")
        self._stored(items[-1].seq)
        self._bytes += total
        self._count_new(connection, len(items))

    def _append(
        self,
        connection: sqlite3.Connection,
        event: SpooledEvent,
        counted: bytes | None,
        seq: int | None = None,
        spare: int = 0,
    ) -> bool:
        size = size_of(event)
        if size > self._bound:
            self._unstored += 1
            return False
        if seq is None:
            seq = self._next_seq()
        if counted is not None and not self._refused.may_have(counted):
            counted = None
        if counted is None and not spare and self._bytes + size <= self._bound:
            self._insert(connection, event, seq, size)
            self._stored(seq)
            self._bytes += size
            self._count_new(connection, 1)
            return True
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(COUNT_NEW)
        used = int(connection.execute("SELECT bytes FROM total").fetchone()[0])
        lacking = max(0, used + size - self._bound)
        dropped: Counter[str] = Counter()
        freed = 0
        if lacking or spare:
            freed = make_room(connection, dropped, lacking, spare or self._bound // SPARE_SHARE, event)
        is_stored = freed >= lacking
        if is_stored:
            self._insert(connection, event, seq, size)
            if counted is not None:
                self._refused.forget(connection, counted)
        else:
            dropped["uneventful"] += 1
        connection.executemany(COUNT, dropped.items())
        connection.execute("COMMIT")
        self._stored(seq)
        self._bytes = used - freed + (size if is_stored else 0)
        if is_stored and counted is not None:
            self._refused.forgotten(counted)
        self._dropped += dropped
        return is_stored

    def _stored(self, seq: int) -> None:
        self._stored_to = seq
        self._last_seq = max(self._last_seq, seq)

    def _next_seq(self) -> int:
        return max(self._last_seq + 1, time.time_ns() // 1000)

    @staticmethod
    def _insert(connection: sqlite3.Connection, event: SpooledEvent, seq: int, size: int) -> None:
        row = (seq, event.tenant_id, event.event_id, size, event.body)
        connection.execute(_INSERT[event.is_eventful], row)

    def _count_new(self, connection: sqlite3.Connection, events: int) -> None:
        self._uncounted += events
        if self._uncounted >= COUNTED_AT_ONCE:
            self._uncounted = 0
            connection.execute(COUNT_NEW)

    def _append_in_new_room(
        self, event: SpooledEvent, counted: bytes | None, seq: int | None, error: Exception
    ) -> bool:
        """Where the disk is full, older events make room, as they do at the bound."""
        connection = self._connection
        if is_full(error) and connection is not None and self._clock() >= self._room_at:
            self._room_at = self._clock() + RETRY_SECONDS
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                return self._append(connection, event, counted, seq, FREED_BYTES)
            except Exception as again:  # noqa: BLE001 - whatever it is, mail goes on
                self._fail(again)
        self._unstored += 1
        return False

    def _ready(self) -> sqlite3.Connection | None:
        """The open file; None where it cannot be opened, which is tried once in a while."""
        connection = self._connection
        now = self._clock()
        if connection is not None:
            if self._seen_at <= now < self._seen_at + LOOK_SECONDS:
                return connection
            if identity_of(self._path) == self._identity and (now < self._look_at or not self._is_marked(now)):
                self._seen_at = now
                return connection
            self.close()
        elif now < self._look_at:
            return None
        self._look_at = now + RETRY_SECONDS
        connection = open_own(self._path, SPOOL)
        try:
            self._bytes = connection.execute(WAITING).fetchone()[1]
            self._refused.read(connection)
            self._stored_to = connection.execute(LAST).fetchone()[0]
            self._last_seq = max(self._last_seq, self._stored_to)
            self._dropped = Counter(dict(connection.execute("SELECT name, value FROM counter")))
        except BaseException:
            connection.close()
            raise
        self._connection, self._identity = connection, identity_of(self._path)
        return connection

    def _is_marked(self, now: float) -> bool:
        self._look_at = now + RETRY_SECONDS
        return mark_of(self._path).exists()

    def _recover(self) -> None:
        self._is_failing = False
        if self._connection is not None:
            wait_for_lock(self._connection, BUSY_SECONDS)

    def _fail(self, error: Exception) -> None:
        """Go on behind a failure; say so once for each run of them."""
        if self._connection is not None:
            roll_back(self._connection)
            if is_damaged(error):
                mark_damaged(self._path)
                self.close()
            elif is_read_only(error):
                self.close()
                self._look_at = self._clock() + RETRY_SECONDS
            elif is_locked(error):
                wait_for_lock(self._connection, IMPATIENT_SECONDS)
        if not self._is_failing:
            self._is_failing = True
            why = f"{type(error).__name__}: {error}"
            log.error("the spool fails, events may be lost: %s", why, extra=log_event("spool_failed", why=why))


def size_of(event: SpooledEvent) -> int:
    """What an event takes of the disk."""
    return disk_bytes(len(event.tenant_id) + len(event.event_id) + len(event.body))
