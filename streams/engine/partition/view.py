"""The state as a unit of work sees it, and what the unit changes and emits."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

from streams.engine.dead_letters import dead_letter
from streams.engine.ports import Output, Record, StateStore
from streams.engine.telemetry import DEAD_LETTERS, UnitMetrics
from streams.errors import is_records_fault
from streams.kafka.record import MAX_ROW_BYTES

UNIT_BYTES = 8 << 20
"""A unit of work ends, between two records, when its changes and outputs exceed this.

About eight rows of the largest size (`MAX_ROW_BYTES`), and as much as the queue of the source holds, to bound memory.
"""

_ABSENT: Any = object()
_NOTHING: Mapping[bytes, bytes | None] = {}


def size_of(record: Record | Output) -> int:
    """The bytes of a record's key, value and headers."""
    size = len(record.key or b"") + len(record.value or b"")
    for name, content in record.headers:
        # And two lengths, of which there may be very many.
        size += 2 + len(name.encode("utf-8", "replace")) + len(content or b"")
    return size


def check_row(key: bytes, value: bytes | None) -> int:
    """The bytes of a state row.

    Raises:
        ValueError: the row is larger than the changelog takes.
    """
    return check_row_size(key, len(value or b""))


def check_row_size(key: bytes, value_bytes: int) -> int:
    """The bytes of a state row whose value has so many.

    Raises:
        ValueError: the row is larger than the changelog takes.
    """
    size = len(key) + value_bytes
    if size > MAX_ROW_BYTES:
        raise ValueError(f"state row {key[:100]!r}: {size} bytes, more than {MAX_ROW_BYTES}")
    return size


def check_output(output: Output) -> int:
    """The bytes of an output.

    Raises:
        ValueError: the record is larger than its topic takes.
    """
    size = size_of(output)
    if size > MAX_ROW_BYTES:
        raise ValueError(f"output to {output.topic}: {size} bytes, more than {MAX_ROW_BYTES}")
    return size


class StateView:
    """Reads through what the unit wrote, then `uncommitted` (of the unit that is being committed), then the store.

    `notes` is what the unit tells when it is committed. Nothing is undone: a processor changes the view when all that a
    record comes to is known to fit.
    """

    __slots__ = (
        "_closed",
        "changes",
        "notes",
        "outputs",
        "partition",
        "rejected",
        "size_bytes",
        "store",
        "uncommitted",
    )

    def __init__(
        self, store: StateStore, uncommitted: Mapping[bytes, bytes | None] = _NOTHING, partition: int = 0
    ) -> None:
        self.store, self.uncommitted, self.partition = store, uncommitted, partition
        self.changes: dict[bytes, bytes | None] = {}
        self.outputs: list[Output] = []
        self.size_bytes = 0
        self.rejected = 0
        self.notes = UnitMetrics()
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether the unit should take no more records."""
        return self._closed or self.size_bytes > UNIT_BYTES

    def close(self) -> None:
        """Take no more records into this unit."""
        self._closed = True

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        if key in self.changes:
            return self.changes[key]
        if key in self.uncommitted:
            return self.uncommitted[key]
        return self.store.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set a value; None deletes.

        Raises:
            ValueError: the row is larger than the changelog takes.
        """
        size = check_row(key, value)
        old = self.changes.get(key, _ABSENT)
        self.size_bytes += size if old is _ABSENT else len(value or b"") - len(old or b"")
        self.changes[key] = value

    def emit(self, output: Output) -> None:
        """Write a record when the unit commits.

        Raises:
            ValueError: the record is larger than its topic takes.
        """
        self.size_bytes += check_output(output)
        self.outputs.append(output)

    def scan(self, start: bytes, end: bytes, limit: int | None = None) -> list[tuple[bytes, bytes]]:
        """The first `limit` rows with start <= key < end, in order of their keys."""
        changed = {
            key: value
            for changes in (self.uncommitted, self.changes)
            for key, value in changes.items()
            if start <= key < end
        }
        added = [item for item in changed.items() if item[1] is not None]
        if limit is not None and len(added) > limit:
            added = heapq.nsmallest(limit, added)  # a slice of a large unit needs no order of all of it
        added.sort(reverse=True)
        rows: list[tuple[bytes, bytes]] = []
        for row in self.store.scan(start, end):
            while added and added[-1][0] < row[0]:
                rows.append(added.pop())  # type: ignore[arg-type]
            if row[0] not in changed:
                rows.append(row)
            if limit is not None and len(rows) >= limit:
                return rows[:limit]
        rows += reversed(added)  # type: ignore[arg-type]
        return rows[:limit]

    def reject(self, record: Record, error: Exception) -> None:
        """Make a record a dead letter, which has changed nothing.

        Raises:
            Exception: `error` itself, where it is not the record's fault.
        """
        if not is_records_fault(error):
            raise error
        letter = dead_letter(record, error, self.partition)
        self.outputs.append(letter)
        self.size_bytes += size_of(letter)
        self.rejected += 1
        self.notes.counts[DEAD_LETTERS, record.topic, type(error).__name__] += 1
