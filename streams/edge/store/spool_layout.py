"""What the spool holds: events on their way, those that Kafka refused, and counts.

The number of an event, `seq`, is the moment it was stored in microseconds since 1970, or one more than the one before:
it is never given twice, and tells how long an event waits.
"""

from __future__ import annotations

from typing import Final

from streams.edge.store.database import Layout

_PAGE: Final = 4096
_ROW_BYTES: Final = 64
"""Of an event's row beside its texts: numbers and lengths."""

SPOOL: Final = Layout(
    """
CREATE TABLE eventful(
    seq INTEGER PRIMARY KEY, tenant TEXT NOT NULL, event_id TEXT NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE uneventful(
    seq INTEGER PRIMARY KEY, tenant TEXT NOT NULL, event_id TEXT NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL);
CREATE VIEW event AS SELECT * FROM eventful UNION ALL SELECT * FROM uneventful;
CREATE TABLE total(events INTEGER NOT NULL, bytes INTEGER NOT NULL, counted_to INTEGER NOT NULL);
INSERT INTO total VALUES(0, 0, 0);
CREATE TABLE rejected(
    seq INTEGER PRIMARY KEY, tenant TEXT NOT NULL, event_id TEXT NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE refused(client BLOB PRIMARY KEY, count INTEGER NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX oldest_refused ON refused(since);
CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
""",
    2,
)
"""Of each event one page is written: those that go first where there is no more room have a table of their own, and
`total` counts only those up to `counted_to`."""
_NEW_EVENTS: Final = (
    "(SELECT count(*) FROM eventful WHERE seq > counted_to) + (SELECT count(*) FROM uneventful WHERE seq > counted_to)"
)
_NEW_BYTES: Final = (
    "(SELECT coalesce(sum(size), 0) FROM eventful WHERE seq > counted_to)"
    " + (SELECT coalesce(sum(size), 0) FROM uneventful WHERE seq > counted_to)"
)
WAITING: Final = f"SELECT events + {_NEW_EVENTS}, bytes + {_NEW_BYTES} FROM total"  # noqa: S608 - all of it is ours
"""How many events wait, and how many bytes of the disk they take."""
LAST: Final = "SELECT max(counted_to, coalesce((SELECT seq FROM event ORDER BY seq DESC LIMIT 1), 0)) FROM total"
"""The newest number that is known to have been given, also where no event waits."""
COUNT_NEW: Final = (
    f"UPDATE total SET events = events + {_NEW_EVENTS}, bytes = bytes + {_NEW_BYTES},"  # noqa: S608 - all of it is ours
    f" counted_to = ({LAST})"
)
"""Counts what came since the last time; to be done often, for it takes as long as there are such events."""
FORGET: Final = "UPDATE total SET events = events - ?, bytes = bytes - ?"
"""Goes with each deletion of events, and `COUNT_NEW` before it."""
COUNT: Final = "INSERT INTO counter VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = value + excluded.value"
"""Adds to a counter, which survives the process."""


def disk_bytes(length: int) -> int:
    """What an event with texts of this length takes of the file: small ones share a page, large ones fill theirs."""
    length += _ROW_BYTES
    return _PAGE // (_PAGE // length) if length <= _PAGE else (length // _PAGE + 1) * _PAGE
