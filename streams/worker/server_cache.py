"""Servers kept in memory between units of work, and those of them that the present unit has changed."""

from __future__ import annotations

from typing import Final

from streams.engine.partition.view import StateView
from streams.state.server_row import CHANGED, KEPT, ServerRow

SERVER_BYTES: Final = 1_800
"""What a cached server is taken to have in memory: a row with the marks of 32 connections, and its share of what is
decoded."""
_DECODED_SHARE: Final = 8
"""Of so many rows one keeps its state decoded, those that were decoded last: deciding again soon is cheaper then."""
_ENTRY_MEMORY: Final = 200
"""Of a key and its entry in a table, the key's text aside."""
SLACK_BYTES: Final = 16 << 20
"""How far beyond its bound the cache may go within one unit of work, which then ends."""


class ServerCache:
    """Rows by their keys.

    Rows that take more than `most_bytes` in memory go from it at the end of a unit, those first that came first.
    """

    def __init__(self, most_bytes: int) -> None:
        self.rows: dict[bytes, ServerRow] = {}
        self.counted_bytes = 0
        self._changed: dict[bytes, ServerRow] = {}
        self._decoded: dict[bytes, ServerRow] = {}
        self._most_bytes = most_bytes
        self._most_decoded = most_bytes // SERVER_BYTES // _DECODED_SHARE
        self._view: StateView

    def begin(self, view: StateView) -> None:
        """Work on the view of a new unit."""
        self._view = view

    def row(self, key: bytes) -> ServerRow | None:
        """The row of a server, None where there is none."""
        row = self.rows.get(key)
        if row is None:
            value = self._view.get(key)
            if value is None:
                return None
            row = self.rows[key] = ServerRow(value)
            self._add(key, row)
        return row

    def change(self, key: bytes, row: ServerRow) -> bool:
        """The row has changed, and is encoded at the end of the unit; gives whether the unit is full."""
        if not row.is_changed:
            row.stand(CHANGED)
            self._changed[key] = row
            row.unit_bytes = len(key) + row.size
            self._view.size_bytes += row.unit_bytes
        return self._view.is_full

    def replace(self, key: bytes, row: ServerRow | None) -> None:
        """Another row takes the place of the one that there is, None deletes it."""
        old = self.rows.pop(key, None) if row is None else self.rows.get(key)
        if old is not None:
            self.counted_bytes -= old.cached_bytes
            if old.is_changed:
                self._view.size_bytes -= old.unit_bytes
                del self._changed[key]
            self._leave(key, old)
        if row is None:
            self._view.put(key, None)
            return
        self.rows[key] = row
        self.change(key, row)
        self._add(key, row)

    def flush(self) -> None:
        """Put the changed rows into the view."""
        for key, row in self._changed.items():
            row.stand(KEPT)
            value = row.encode()
            grown = len(key) + len(value) - row.unit_bytes
            row.cached_bytes += grown
            self.counted_bytes += grown
            self._view.size_bytes -= row.unit_bytes
            row.unit_bytes = 0
            self._view.put(key, value)
        self._changed.clear()

    def finish(self) -> None:
        """End the unit: everything is in its view, and no more is kept in memory than the limit allows."""
        self.flush()
        while len(self._decoded) > self._most_decoded:
            key = next(iter(self._decoded))
            row = self._decoded.pop(key)
            row.forget_details()
            self.count(key, row)
        if self.counted_bytes > self._most_bytes:
            gone = []
            for key, row in self.rows.items():
                if self.counted_bytes <= self._most_bytes:
                    break
                self.counted_bytes -= row.cached_bytes
                gone.append(key)
            for key in gone:
                self._leave(key, self.rows.pop(key))

    def _leave(self, key: bytes, row: ServerRow) -> None:
        row.empty()
        self._decoded.pop(key, None)

    def _add(self, key: bytes, row: ServerRow) -> None:
        row.cached_bytes = 0
        self.count(key, row)

    def count(self, key: bytes, row: ServerRow) -> None:
        """Count a row as it is by now; the unit ends where a few more would be too many."""
        size = _ENTRY_MEMORY + len(key) + row.memory_bytes
        self.counted_bytes += size - row.cached_bytes
        row.cached_bytes = size
        if row.is_decoded:
            self._decoded[key] = row
        if self.counted_bytes > self._most_bytes + SLACK_BYTES:
            self._view.close()
