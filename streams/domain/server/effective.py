"""Where a server stands: what the edge does now, every stage with its date, and what is to come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streams.domain.policy.ladder import Action, ClockStop, ScheduledStage, schedule, strongest
from streams.domain.server.rules import ServerRules
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.waivers import waived_until
from streams.domain.time import LATEST_MS


class EffectiveEnforcement(NamedTuple):
    """What applies at a moment; rates in minutes of each hour, moments in UTC milliseconds.

    `stages` holds every stage of the ladder with its date, `upcoming` what changes for the edge from now on: stages
    that begin, and the known ends of enforcement in between, which have no minutes. `waived_until` is the end of all
    pauses and exceptions that follow each other without a gap.
    """

    action: Action
    throttle_minutes_per_hour: int
    block_minutes_per_hour: int
    stages: tuple[ScheduledStage, ...]
    upcoming: tuple[ScheduledStage, ...]
    waived_until: int | None = None
    paused_until: int | None = None
    exempt_until: int | None = None

    def next_above(self, stage: int) -> ScheduledStage | None:
        """What comes next and is not merely an end of enforcement."""
        return next((item for item in self.upcoming if item.stage > stage or _has_minutes(item)), None)


def _has_minutes(stage: ScheduledStage) -> bool:
    return bool(stage.throttle_minutes_per_hour or stage.block_minutes_per_hour)


def stages_of(state: ServerEnforcement, rules: ServerRules, at: int) -> tuple[ScheduledStage, ...]:
    """Every stage of the ladder in force at `at` with its date; those that no clock reaches are left out."""
    stages = schedule(rules.policy_at(at).ladder, state.clock, rules.clock_stops())
    return tuple(stage for stage in stages if stage.starts_at < LATEST_MS)


def effective_enforcement(state: ServerEnforcement, rules: ServerRules, at: int) -> EffectiveEnforcement:
    """What applies to a server at `at`, UTC milliseconds."""
    waivers = rules.waivers
    spans = waivers.until(at), waived_until(waivers.pauses, at), waived_until(waivers.exceptions, at)
    if not state.is_in_episode:
        return EffectiveEnforcement(Action.ACCEPT, 0, 0, (), (), *spans)
    stages = stages_of(state, rules, at)
    ladder = rules.policy_at(at).ladder
    rates = ladder[min(state.stage, len(ladder)) - 1]
    now = ScheduledStage(state.stage, at, rates.throttle_minutes_per_hour, rates.block_minutes_per_hour)
    clock_stops = rules.clock_stops()
    # The number never goes back: where another ladder is behind, its stages are shown as the one that was reached.
    changes = _changes(now, stages, clock_stops, at)
    reached = state.reached_stage
    upcoming = tuple([change if change.stage >= reached else change._replace(stage=reached) for change in changes])
    if waived_until(clock_stops, at) is not None:
        return EffectiveEnforcement(Action.ACCEPT, 0, 0, stages, upcoming, *spans)
    throttle, block = now.throttle_minutes_per_hour, now.block_minutes_per_hour
    return EffectiveEnforcement(strongest(throttle, block), throttle, block, stages, upcoming, *spans)


def _changes(
    now: ScheduledStage, stages: Sequence[ScheduledStage], clock_stops: Sequence[ClockStop], at: int
) -> Iterator[ScheduledStage]:
    """What an edge on its own has to know: the stages to come, and where enforcement ends and goes on in between."""
    begins: list[int] = []
    ends: list[int] = []
    reached = at
    for starts_at, ends_at in sorted(clock_stops):
        if ends_at > reached:
            if starts_at > reached:
                begins.append(starts_at)
            elif ends:
                ends.pop()
            ends.append(ends_at)
            reached = ends_at
    coming = [stage for stage in stages if stage.stage > now.stage]
    moments = sorted({*begins, *ends, *[stage.starts_at for stage in coming]})
    following = 0
    for moment in moments:
        entered = following
        while following < len(coming) and coming[following].starts_at <= moment:
            following += 1
        if following > entered:
            now = coming[following - 1]
            yield now
        elif moment in ends and _has_minutes(now) and moment < LATEST_MS:
            yield now._replace(starts_at=moment)
        if moment in begins and _has_minutes(now):
            yield ScheduledStage(now.stage, moment, 0, 0)
