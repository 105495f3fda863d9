"""What a worker tells of its work, and to whom: the one port between the parts that work and those that show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from streams.engine.ports import Record
from streams.engine.status import WorkerStatus
from streams.kafka.record import Headers

Label = tuple[str, ...]
"""The name of what is counted, then what tells its kinds apart; only of bounded sets, so that counts stay few."""

DEAD_LETTERS = "dead_letters"
"""The name under which the engine counts them, with the topic and the class of the error."""


@dataclass(slots=True)
class UnitMetrics:
    """Metrics of a unit of work, reported once it is committed.

    `moments` (UTC milliseconds) are those of events that led to an output somebody waits for, `traces` what is
    followed of its records.
    """

    counts: Counter[Label] = field(default_factory=Counter)
    moments: list[int] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class UnitReport:
    """A unit that is committed; `began_ns` is the wall clock in nanoseconds."""

    partition: int
    records: int
    began_ns: int
    decide_seconds: float
    commit_seconds: float
    notes: UnitMetrics


@dataclass(frozen=True, slots=True)
class PresentState:
    """What has a present value, to be read at any time from the worker's own loop.

    `rules` says by kind what its processors decide by now, as labels and their values; `memory` the bytes that the
    store holds in memory, by kind.
    """

    status: Callable[[], WorkerStatus]
    rules: Callable[[], Mapping[str, Mapping[str, str]]]
    memory: Callable[[], Mapping[str, int]]


class Trace(Protocol):
    """What is followed of one record: its decision, until the unit is committed."""

    headers: Headers
    """What its outputs bear, so that their readers can go on with the trace."""

    def failed(self, error: Exception) -> None:
        """The record could not be processed."""


class Telemetry:
    """Every hook, and what each does where nobody listens: nothing.

    A listener overrides those that it wants. None may raise or take long, since a partition's work waits for it. All
    are called in the worker's loop, but for `event_logged`, which comes from any thread.
    """

    def worker_built(self, present: PresentState) -> None:
        """The worker has all its parts, and is about to join its group."""

    def watchdog_looked(self) -> None:
        """The watchdog has looked at every partition; it looks again and again."""

    def unit_committed(self, report: UnitReport) -> None:
        """A unit of work is committed and stored."""

    def timers_counted(self, partition: int, count: int) -> None:
        """So many timers wait in a partition."""

    def begin_trace(self, record: Record) -> Trace | None:
        """Follow a record that is decided now; None for one that is part of no trace."""

    def event_logged(self, name: str) -> None:
        """A line of the log has this event's name."""


SILENT = Telemetry()
"""Nobody listens."""
