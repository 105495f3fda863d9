"""Counts decisions, and how long they took, as plain numbers: it is done for each message."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from streams.domain.edge import Cause, Decision
from streams.domain.policy.ladder import Action

MAIL, MESSAGE = "mail", "message"
BUCKETS: Final = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0)
"""Upper bounds, in seconds; what took longer is in one more."""


class Durations:
    """How many decisions took how long."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """The sum of all."""
        self._counts = [0] * (len(BUCKETS) + 1)

    def add(self, seconds: float) -> None:
        """One more."""
        self.seconds += seconds
        self._counts[bisect_left(BUCKETS, seconds)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """Each bound as text, and how many took at most so long."""
        found: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._counts, strict=True):
            total += count
            found.append((bound, total))
        return found


class DecisionCounts:
    """Decisions by moment, action and cause."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Action, Cause], int] = {}
        self.durations = {MAIL: Durations(), MESSAGE: Durations()}

    def add(self, moment: str, decision: Decision, seconds: float) -> None:
        """A decision was made at `moment`, within so many seconds."""
        key = (moment, decision.action, decision.cause)
        self._counts[key] = self._counts.get(key, 0) + 1
        self.durations[moment].add(seconds)

    def counts(self) -> Iterator[tuple[str, Action, Cause, int]]:
        """Each moment, action and cause that there was, and how often."""
        for (moment, action, cause), count in list(self._counts.items()):
            yield moment, action, cause, count
