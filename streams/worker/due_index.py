"""How many timers a partition's due index holds, without ever scanning it at once.

After a start the rows are counted slice by slice, in the order of their keys, while work goes on: what is added or
removed in front of the slices counted so far changes the number, what lies behind them will be counted when its turn
comes.
"""

from __future__ import annotations

from typing import Final

from streams.engine.partition.view import StateView

SLICE_ROWS: Final = 5_000
"""Rows that are counted at once: some milliseconds."""


class DueTimers:
    """Counts the rows with start <= key < end."""

    def __init__(self, start: bytes, end: bytes) -> None:
        self._next: bytes | None = start
        self._end = end
        self._count = 0

    @property
    def count(self) -> int | None:
        """How many rows there are; None until all were seen."""
        return self._count if self._next is None else None

    def advance(self, view: StateView, limit: int = SLICE_ROWS) -> None:
        """Count the next slice, if any is left."""
        if self._next is None:
            return
        rows = view.scan(self._next, self._end, limit)
        self._count += len(rows)
        self._next = rows[-1][0] + b"\0" if len(rows) == limit else None

    def changed(self, row: bytes, by: int) -> None:
        """A row was added (1) or removed (-1)."""
        if self._next is None or row < self._next:
            self._count += by
