"""The spool with a journal in front of it: an event costs one call of the system before its message is answered.

A commit for each event runs through all of SQLite and writes a page of its log, between an MTA's processes and in
caches that are theirs by then. Events that come within a moment go into the database with one transaction instead.
Until then they are in the journal, from which the next door takes them after a death of this one.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from streams.edge.ports import SpooledEvent
from streams.edge.store.database import JOURNAL_FILE
from streams.edge.store.journal import Journal, NumberedEvent, frame_of
from streams.edge.store.spool import RETRY_SECONDS, SpoolWriter, size_of

STORE_SECONDS: Final = 0.1
"""So long events gather in the journal; sync looks into the database as often."""
STORED_AT_ONCE: Final = 256
"""When so many are there, they go at once: in about 2 ms, for which mail waits."""
MAX_EVENTS: Final = 4096
MAX_BYTES: Final = 8 << 20
"""Of the journal, where sync hangs in a transaction and keeps the database."""


class JournaledSpool:
    """See `ports.Spool`; of what the disk does nothing comes out of it either."""

    def __init__(
        self,
        folder: Path,
        spool: SpoolWriter,
        later: Callable[[float, Callable[[], None]], object],
        lost: Callable[[str, str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        max_events: int = MAX_EVENTS,
        failpoint: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Put a journal in front of a spool in the same folder.

        Args:
            folder: where the file is, or is made.
            spool: what keeps the events.
            later: calls a function in so many seconds.
            lost: is told tenant and id of each event that turns out to be lost behind its answer.
            clock: returns seconds.
            max_events: of the journal.
            failpoint: is called with the name of each step.
        """
        self._spool, self._journal = spool, Journal(folder / JOURNAL_FILE)
        self._later, self._lost, self._clock, self._most = later, lost, clock, max_events
        self._failpoint = failpoint
        self._pending: list[NumberedEvent] = []
        self._disk_bytes = self._journal_bytes = 0
        self._is_due = False
        self._paused_until = float("-inf")

    def open(self) -> None:
        """Open both files, and store what a door that died left in the journal."""
        self._spool.open()
        try:
            self._open_journal()
        except OSError:
            self._pause()
        self._store()

    def close(self) -> None:
        """Store what is in the journal, and close the files."""
        self._store()
        self._forget()
        self._journal.close()
        self._spool.close()

    @property
    def dropped(self) -> Mapping[str, int]:
        """See `SpoolWriter`."""
        return self._spool.dropped

    def waiting(self) -> tuple[int, int]:
        """How many events wait, and how many bytes of the disk they take."""
        events, size = self._spool.waiting()
        return events + len(self._pending), size + self._disk_bytes

    def refused(self, client: bytes) -> int:
        """How many answers without an event a client had since its last event."""
        return self._spool.refused(client)

    def count_refused(self, client: bytes) -> None:
        """Count one more answer without an event."""
        self._spool.count_refused(client)

    def append(self, event: SpooledEvent, counted: bytes | None = None) -> bool:
        """Store an event, and with it forget what was counted for a client; returns whether it is stored."""
        if counted is None:
            return not self.append_all([event])
        # The count goes in the transaction that has its event.
        if self._store():
            return self._spool.append(event, counted)
        self._spool.lose(1)
        return False

    def append_all(self, events: Sequence[SpooledEvent]) -> Sequence[SpooledEvent]:
        """Store events; returns those that are not stored."""
        if self._note(events):
            return []
        # One that comes later must not overtake: by the newest number in the database is known what was stored.
        if self._store():
            return self._spool.append_all(events)
        self._spool.lose(len(events))
        return events

    def _note(self, events: Sequence[SpooledEvent]) -> bool:
        """Write events to the journal; whether that is done, or they must go into the database."""
        if self._paused_until > self._clock() or len(self._pending) + len(events) > self._most:
            return False
        size = sum([size_of(event) for event in events])
        first = self._spool.reserve(len(events), self._disk_bytes + size)
        if first is None:
            return False
        items = [NumberedEvent(first + number, event) for number, event in enumerate(events)]
        try:
            frames = b"".join([frame_of(item) for item in items])
            if self._journal_bytes + len(frames) > MAX_BYTES:
                return False
            if not self._journal.is_open:
                self._open_journal()
            self._journal.append(frames)
        except (ValueError, struct.error):
            return False
        except OSError:
            self._pause()
            return False
        self._pending += items
        self._disk_bytes += size
        self._journal_bytes += len(frames)
        if len(self._pending) - len(events) < STORED_AT_ONCE <= len(self._pending):
            self._store()
        self._make_due()
        return True

    def _open_journal(self) -> None:
        """Open the journal, and take what is in it as if it came now."""
        for item in self._journal.open():
            self._pending.append(item)
            self._disk_bytes += size_of(item.event)

    def _make_due(self) -> None:
        if self._pending and not self._is_due:
            self._is_due = True
            self._later(STORE_SECONDS, self._store_due)

    def _store_due(self) -> None:
        self._is_due = False
        self._store()
        self._make_due()

    def _store(self) -> bool:
        """Move what is in the journal into the database; whether nothing is left."""
        if not self._pending:
            return True
        self._failpoint("gathered")
        lost = self._spool.store(self._pending)
        if lost is None:
            return False
        self._failpoint("moved")
        self._forget()
        try:
            self._journal.clear()
        except OSError:
            self._pause()  # what stays there is known by its numbers
        for event in lost:
            self._lost(event.tenant_id, event.event_id)
        return True

    def _forget(self) -> None:
        self._pending = []
        self._disk_bytes = self._journal_bytes = 0

    def _pause(self) -> None:
        """Do without the journal for a while: what ails the disk shows in the database, and is told there."""
        self._paused_until = self._clock() + RETRY_SECONDS
