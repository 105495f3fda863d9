"""What the engine needs from outside: a store for the state, and the code that processes records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]


class StoreError(Exception):
    """The store failed; nothing can be decided without it, so the worker stops."""


class Record(NamedTuple):
    """One record as it was fetched; `timestamp` in UTC milliseconds."""

    topic: str
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Output(NamedTuple):
    """One record to write; its partition follows from the key as Kafka's default partitioner has it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class StateStore(Protocol):
    """An ordered map from bytes to bytes, kept on disk or in memory. Every method may raise `StoreError`."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None where there is none."""

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows with start <= key < end, in order of their keys."""

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Apply all changes or none; None deletes."""

    def close(self) -> None:
        """Release the store."""

    def wipe(self) -> None:
        """Empty the store."""


@dataclass(slots=True)
class View:
    """The state as the running unit of work sees it, and what the unit changes and emits.

    The changes of one record are kept or dropped together: `begin`, then `accept` or `drop`.
    """

    store: StateStore
    changes: dict[bytes, bytes | None] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    size_bytes: int = 0
    _changes: dict[bytes, bytes | None] = field(default_factory=dict)
    _outputs: list[Output] = field(default_factory=list)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, what the unit wrote included."""
        if key in self._changes:
            return self._changes[key]
        if key in self.changes:
            return self.changes[key]
        return self.store.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set a value; None deletes."""
        self._changes[key] = value

    def emit(self, output: Output) -> None:
        """Write a record when the unit commits."""
        self._outputs.append(output)

    def keys(self, prefix: bytes) -> list[bytes]:
        """The keys that begin with `prefix`, in order, what the unit wrote included."""
        found = {key for key, _ in self.store.scan(prefix, prefix + b"\xff" * 8)}
        for changes in (self.changes, self._changes):
            for key, value in changes.items():
                if key.startswith(prefix):
                    (found.discard if value is None else found.add)(key)
        return sorted(found)

    def drop(self) -> None:
        """Forget what was done since the last `accept`."""
        self._changes, self._outputs = {}, []

    def accept(self) -> None:
        """Keep what was done since the last `accept`."""
        self.size_bytes += sum(len(key) + len(value or b"") for key, value in self._changes.items())
        self.size_bytes += sum(len(row.value or b"") + len(row.key or b"") for row in self._outputs)
        self.changes.update(self._changes)
        self.outputs += self._outputs
        self.drop()


class Processor(Protocol):
    """The code of one partition; synchronous and without effects but those on the view."""

    def moment_of(self, record: Record) -> int:
        """When a record happened, UTC milliseconds, by which the inputs are merged; 0 where it does not say."""

    def on_record(self, view: View, record: Record) -> None:
        """Process one record of either input; any error but `StoreError` makes it a dead letter."""

    def tick_moment(self, is_caught_up: bool) -> int | None:
        """Up to which moment (UTC milliseconds) timers may fire now, None for not at all."""

    def on_tick(self, view: View, moment: int, limit: int) -> bool:
        """Fire at most about `limit` timers due at or before `moment`; True when some are left."""
