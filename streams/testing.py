"""Fakes for tests of a processor or of the engine, without a broker.

A test that a crash loses nothing takes a few lines: run a `ProcessingLoop` on a `MemoryLog` through
`FakeTransactions(log, Fail("sent", 2))`, begin a second one on the same log, and look at what the log holds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.engine.partition.view import size_of
from streams.engine.ports import Output, Record
from streams.engine.telemetry import PresentState, Telemetry, Trace, UnitReport
from streams.errors import DependencyError


class FakeRecord(NamedTuple):
    """A record as a client fetches it. `timestamp` is in milliseconds since 1970."""

    topic: str
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def size(self) -> int:
        """The bytes of key, value and headers."""
        return size_of(self)


class ManualClock:
    """A clock that stands still until a test moves it. Calling it gives seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Move it forward."""
        self.seconds += seconds


class MemoryStore:
    """A `StateStore` that lives as long as the process."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None where there is none."""
        return self._rows.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows with start <= key < end, in order of their keys."""
        return iter([(key, self._rows[key]) for key in sorted(self._rows) if start <= key < end])

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Apply all changes; None deletes."""
        for key, value in changes.items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value

    def flush(self) -> None:
        """Nothing to bring to disk."""

    def close(self) -> None:
        """Nothing to release."""

    def wipe(self) -> None:
        """Empty the store."""
        self._rows.clear()


class InjectedError(DependencyError):
    """The failure that a test asked for."""


@dataclass
class Fail:
    """Raises `InjectedError` when `step` is reached for the `count`-th time."""

    step: str
    count: int = 1

    def __call__(self, step: str) -> None:
        """Tell it that a step is reached."""
        if step == self.step:
            self.count -= 1
            if self.count == 0:
                raise InjectedError(step)


def never_fail(step: str) -> None:
    """Let every step pass."""


@dataclass
class MemoryLog:
    """What Kafka holds of one partition: committed outputs, changelog, and the last offset done of each input.

    `units` has the number of outputs of each transaction, `position` is the end of the changelog.
    """

    outputs: list[Output] = field(default_factory=list)
    state: dict[bytes, bytes] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    units: list[int] = field(default_factory=list)
    position: int = 0

    def restored(self) -> MemoryStore:
        """A store with everything that the changelog holds."""
        store = MemoryStore()
        store.write(self.state)
        return store


class FakeTransactions:
    """Commits units of work to a `MemoryLog`, all or nothing, as `Transactions` does to Kafka.

    It reaches the steps `begun`, `sent` and `committed`; `failpoint` may fail any of them.
    """

    def __init__(self, log: MemoryLog, failpoint: Callable[[str], None] = never_fail) -> None:
        self.failpoint, self._log = failpoint, log

    async def commit(
        self, outputs: Sequence[Output], changes: Mapping[bytes, bytes | None], done: Mapping[str, int]
    ) -> int | None:
        """Write outputs, changed state and offsets; gives the position after it, None where no row changed."""
        self.failpoint("begun")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.failpoint("sent")
        log = self._log
        log.outputs += outputs
        log.units.append(len(outputs))
        log.done |= done
        for key, value in changes.items():
            if value is None:
                log.state.pop(key, None)
            else:
                log.state[key] = value
        log.position += len(changes)
        await asyncio.sleep(0)
        self.failpoint("committed")
        return log.position if changes else None


class MemoryInput:
    """A merged input (see `MergedInput`) whose records are all here."""

    is_known = is_at_end = True

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.waiting = deque(records)

    def check(self) -> None:
        """Nothing can have failed."""

    def pop(self) -> Record:
        """Take the first record."""
        return self.waiting.popleft()


class RecordingTelemetry(Telemetry):
    """A telemetry that keeps what it is told, in order; `timers` has the last count of each partition."""

    def __init__(self) -> None:
        self.present: PresentState | None = None
        self.looks = 0
        self.units: list[UnitReport] = []
        self.timers: dict[int, int] = {}
        self.decided: list[Record] = []
        self.events: list[str] = []

    def worker_built(self, present: PresentState) -> None:
        """See `Telemetry`."""
        self.present = present

    def watchdog_looked(self) -> None:
        """See `Telemetry`."""
        self.looks += 1

    def unit_committed(self, report: UnitReport) -> None:
        """See `Telemetry`."""
        self.units.append(report)

    def timers_counted(self, partition: int, count: int) -> None:
        """See `Telemetry`."""
        self.timers[partition] = count

    def begin_trace(self, record: Record) -> Trace | None:
        """See `Telemetry`; keeps the record, and follows none."""
        self.decided.append(record)
        return None

    def event_logged(self, name: str) -> None:
        """See `Telemetry`."""
        self.events.append(name)
