"""What the engine needs from outside: records, and a store for the state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from streams.errors import DependencyError
from streams.kafka.record import Headers


class StoreError(DependencyError):
    """The store failed, or holds what this version cannot read; nothing can be decided without it."""


class Record(Protocol):
    """One record as the client fetched it; `timestamp` in UTC milliseconds."""

    @property
    def topic(self) -> str: ...

    @property
    def offset(self) -> int: ...

    @property
    def timestamp(self) -> int: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...

    @property
    def size(self) -> int:
        """The bytes of key, value and headers."""


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

    def flush(self) -> None:
        """Begin to bring to disk what is in memory only; a store without a disk does nothing."""

    def close(self) -> None:
        """Release the store."""

    def wipe(self) -> None:
        """Empty the store."""
