"""The ladder's clock: one function computes every date that is shown anywhere.

Enforcement time runs from the first detection and stands still while a pause or an exception covers the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from streams.domain.policy.policy import Stage
from streams.domain.time import DAY_MS


class Action(StrEnum):
    """What the edge does, the strongest that a stage has."""

    ACCEPT = "ACCEPT"
    THROTTLE = "THROTTLE"
    BLOCK = "BLOCK"


class ClockStop(NamedTuple):
    """A span in which enforcement time stands still: `starts_at` <= t < `ends_at`, UTC milliseconds."""

    starts_at: int
    ends_at: int


class Clock(NamedTuple):
    """Enforcement time of one episode: `elapsed_ms` at the moment `as_of`, running from then on."""

    elapsed_ms: int
    as_of: int


class ScheduledStage(NamedTuple):
    """A stage (1 is the first) with the moment it begins, UTC milliseconds, and its minutes of each hour."""

    stage: int
    starts_at: int
    throttle_minutes_per_hour: int
    block_minutes_per_hour: int


def elapsed_at(clock: Clock, moment: int, clock_stops: Sequence[ClockStop] = ()) -> int:
    """Enforcement time in milliseconds that has passed at `moment`; never less than at the clock's own moment."""
    if moment <= clock.as_of:
        return clock.elapsed_ms
    still = 0
    reached = clock.as_of
    for starts_at, ends_at in sorted(clock_stops):
        begin, end = max(starts_at, reached), min(ends_at, moment)
        if end > begin:
            still += end - begin
            reached = end
    return clock.elapsed_ms + moment - clock.as_of - still


def wall_time_of(clock: Clock, elapsed_ms: int, clock_stops: Sequence[ClockStop] = ()) -> int:
    """When enforcement time reaches `elapsed_ms`: the clock's own moment where it already has."""
    moment = clock.as_of + max(0, elapsed_ms - clock.elapsed_ms)
    reached = clock.as_of
    if moment == reached:
        return moment
    for starts_at, ends_at in sorted(clock_stops):
        begin = max(starts_at, reached)
        # A stage due exactly when a standstill begins is reached: the span counts from its first millisecond on.
        if ends_at > begin and begin < moment:
            moment += ends_at - begin
            reached = ends_at
    return moment


MAX_CACHED_SPANS = 16
"""Standstills of a schedule that is kept: many of them would make its key large."""


def schedule(
    ladder: tuple[Stage, ...], clock: Clock, clock_stops: tuple[ClockStop, ...] = ()
) -> tuple[ScheduledStage, ...]:
    """Every stage of the ladder with the moment it begins, known standstills included.

    This is the only source of dates: verdicts, notifications, reports and timers all take theirs from here.
    """
    if len(clock_stops) > MAX_CACHED_SPANS:
        return _scheduled(ladder, clock, clock_stops)
    return _cached_schedule(ladder, clock, clock_stops)


@lru_cache(maxsize=4_000)  # of 5 KB at most
def _cached_schedule(
    ladder: tuple[Stage, ...], clock: Clock, clock_stops: tuple[ClockStop, ...]
) -> tuple[ScheduledStage, ...]:
    return _scheduled(ladder, clock, clock_stops)


def _scheduled(
    ladder: tuple[Stage, ...], clock: Clock, clock_stops: tuple[ClockStop, ...]
) -> tuple[ScheduledStage, ...]:
    return tuple(
        ScheduledStage(
            number,
            wall_time_of(clock, stage.from_day * DAY_MS, clock_stops),
            stage.throttle_minutes_per_hour,
            stage.block_minutes_per_hour,
        )
        for number, stage in enumerate(ladder, start=1)
    )


def strongest(throttle_minutes_per_hour: int, block_minutes_per_hour: int) -> Action:
    """The strongest action that these rates contain."""
    if block_minutes_per_hour:
        return Action.BLOCK
    return Action.THROTTLE if throttle_minutes_per_hour else Action.ACCEPT
