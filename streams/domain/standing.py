"""Where a server stands: what the edge does now, every stage with its date, and those to come."""

from __future__ import annotations

from typing import NamedTuple

from streams.domain.connection import LATEST_MS
from streams.domain.ladder import Action, ScheduledStage, Standstill, schedule, strongest
from streams.domain.pauses import Cover, covered_until
from streams.domain.rules import Rulebook
from streams.domain.state import ServerEnforcement


class Standing(NamedTuple):
    """What applies at a moment; rates in minutes of each hour, moments in UTC milliseconds."""

    action: Action
    throttle_minutes_per_hour: int
    block_minutes_per_hour: int
    stages: tuple[ScheduledStage, ...]
    upcoming: tuple[ScheduledStage, ...]
    paused_until: int | None = None
    exempt_until: int | None = None


def standstills_of(rulebook: Rulebook, cover: Cover) -> tuple[Standstill, ...]:
    """Every span in which enforcement time stands still: policies that do not enforce, pauses, exceptions."""
    return (*rulebook.standstills(), *cover.standstills())


def stages_of(state: ServerEnforcement, rulebook: Rulebook, cover: Cover, at: int) -> tuple[ScheduledStage, ...]:
    """Every stage of the ladder in force at `at` with its date; those that no clock reaches are left out."""
    stages = schedule(rulebook.policy_at(at).ladder, state.clock, standstills_of(rulebook, cover))
    return tuple(stage for stage in stages if stage.starts_at < LATEST_MS)


def standing_of(state: ServerEnforcement, rulebook: Rulebook, cover: Cover, at: int) -> Standing:
    """Where a server stands at a moment."""
    paused_until, exempt_until = cover.until(at), cover.exempt_until(at)
    if not state.is_in_episode:
        return Standing(Action.ACCEPT, 0, 0, (), (), paused_until, exempt_until)
    stages = stages_of(state, rulebook, cover, at)
    upcoming = tuple(stage for stage in stages if stage.stage > state.stage)
    ladder = rulebook.policy_at(at).ladder
    now = ladder[min(state.stage, len(ladder)) - 1]
    throttle, block = now.throttle_minutes_per_hour, now.block_minutes_per_hour
    still_until = covered_until(standstills_of(rulebook, cover), at)
    if still_until is None:
        return Standing(strongest(throttle, block), throttle, block, stages, upcoming)
    if still_until < LATEST_MS and (throttle or block):
        # An edge goes on by itself when the standstill ends: the stage begins again then.
        upcoming = (ScheduledStage(state.stage, still_until, throttle, block), *upcoming)
    return Standing(Action.ACCEPT, 0, 0, stages, upcoming, paused_until, exempt_until)
