"""What the engine tells of its work; it does not know who listens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Label = tuple[str, ...]
"""The name of what is counted, then what tells its kinds apart; only of bounded sets, so that counts stay few."""


@dataclass(slots=True)
class Notes:
    """What a unit of work has to tell once it is committed.

    `moments` (UTC milliseconds) are those of events that led to an output somebody waits for, `traces` what a tracer of
    the processor's began.
    """

    counts: Counter[Label] = field(default_factory=Counter)
    moments: list[int] = field(default_factory=list)
    traces: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class UnitReport:
    """A unit that is committed; `began_ns` is the wall clock in nanoseconds."""

    partition: int
    records: int
    began_ns: int
    decide_seconds: float
    commit_seconds: float
    notes: Notes


class Observer(Protocol):
    """Listens; it must neither raise nor take long, since the partition's work waits for it."""

    def unit_committed(self, report: UnitReport) -> None:
        """A unit of work is committed and stored."""


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
