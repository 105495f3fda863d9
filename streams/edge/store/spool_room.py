"""Makes room in the spool: which events go where they have reached their bound, or the disk is full."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Final

from streams.edge.ports import SpooledEvent
from streams.edge.store.spool_layout import FORGET

_OLDEST: Final = (
    ("uneventful", "SELECT seq, size FROM uneventful ORDER BY seq", "DELETE FROM uneventful WHERE seq = ?"),
    ("eventful", "SELECT seq, size FROM eventful ORDER BY seq", "DELETE FROM eventful WHERE seq = ?"),
)


def make_room(
    connection: sqlite3.Connection, dropped: Counter[str], lacking: int, spare: int, event: SpooledEvent
) -> int:
    """Delete events for another one: the oldest uneventful ones go, then for one that is eventful the oldest of all.

    Args:
        connection: in a transaction, all events counted.
        dropped: how many went, by kind, is added here.
        lacking: bytes that the event needs.
        spare: bytes that become free beyond them, so that there is room for a while.
        event: the one that comes.

    Returns how many bytes are free now; fewer than are `lacking` where the event has to be left out.
    """
    freed = 0
    for kind, statement, delete in _OLDEST:
        if (freed and freed >= lacking) or (kind == "eventful" and not event.is_eventful):
            break
        leaving: list[tuple[int]] = []
        before = freed
        for seq, size in connection.execute(statement):
            leaving.append((seq,))
            freed += size
            if freed >= lacking + spare:
                break
        connection.executemany(delete, leaving)
        connection.execute(FORGET, (len(leaving), freed - before))
        dropped[kind] += len(leaving)
    return freed
