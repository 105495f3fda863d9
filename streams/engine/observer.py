"""What the engine tells of its work; it does not know who listens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streams.engine.ports import Record
from streams.kafka.record import Headers

Label = tuple[str, ...]
"""The name of what is counted, then what tells its kinds apart; only of bounded sets, so that counts stay few."""

DEAD_LETTERS = "dead_letters"
"""The name under which the engine counts them, with the topic and the class of the error."""


@dataclass(slots=True)
class UnitMetrics:
    """What a unit of work has to tell once it is committed.

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


class Observer(Protocol):
    """Listens; it must neither raise nor take long, since the partition's work waits for it."""

    def unit_committed(self, report: UnitReport) -> None:
        """A unit of work is committed and stored."""


class Trace(Protocol):
    """What is followed of one record: its decision, until the unit is committed."""

    headers: Headers
    """What its outputs bear, so that their readers can go on with the trace."""

    def failed(self, error: Exception) -> None:
        """The record could not be processed."""


class Tracer(Protocol):
    """Follows records across processes."""

    def begin(self, record: Record) -> Trace | None:
        """Follow a record that is decided now; None for one that is part of no trace."""


class Observers:
    """Hands everything on to several observers, or to none."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def unit_committed(self, report: UnitReport) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.unit_committed(report)


SILENT = Observers()
"""Nobody listens."""
