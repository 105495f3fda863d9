"""What is due for one server, and when."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from streams.domain.connection import DAY_MS, HOUR_MS
from streams.domain.ladder import ScheduledStage
from streams.domain.pauses import Cover
from streams.domain.rules import Rulebook
from streams.domain.standing import stages_of
from streams.domain.state import ServerEnforcement


class TimerKind(IntEnum):
    """What can be due, in the order in which it fires when the moment is the same.

    The first four change what the others are.
    """

    POLICY = 0
    OVERRIDE = 1
    TAKEN_OVER = 2
    SETTLED = 3
    MIXED = 4
    STAGE = 5
    COVER = 6
    NOTICE = 7
    VANISH = 8
    REPORT = 9
    ANNOUNCE = 10
    FORGET = 11


VERDICT_REST_MS: Final = DAY_MS
"""Until a verdict says that a server in its episode shows another build, so that builds in turns make few verdicts."""


class Timer:
    """Something due at a moment (UTC milliseconds).

    `stage` is the stage that begins or is announced, `detail` the days ahead of a notice, or the moment of the policy
    that is announced.
    """

    __slots__ = ("detail", "due", "kind", "stage")

    def __init__(self, due: int, kind: TimerKind, stage: ScheduledStage | None = None, detail: int = 0) -> None:
        self.due, self.kind, self.stage, self.detail = due, kind, stage, detail


def timers_of(state: ServerEnforcement, rulebook: Rulebook, cover: Cover, at: int, since: int) -> list[Timer]:
    """Everything still to come since `since`, as the policy that governs at `at` has it.

    What should have happened before is due at `since`; a notice that should have been given before is not given.
    """
    timers: list[Timer] = []
    policy = rulebook.policy_at(at)
    switch = rulebook.next_switch_after(since)
    if switch is not None:
        timers.append(Timer(switch, TimerKind.POLICY))
        for announced_at, switch_at in rulebook.switches_after(at):
            if not any(known.switch_at == switch_at for known in state.announced):
                timers.append(Timer(max(announced_at, since), TimerKind.ANNOUNCE, None, switch_at))
    if state.override is not None:
        timers.append(Timer(max(state.override.ends_at, since), TimerKind.OVERRIDE))
    if state.is_in_episode:
        for stage in stages_of(state, rulebook, cover, at):
            if stage.stage > state.stage:
                timers.append(Timer(max(stage.starts_at, since), TimerKind.STAGE, stage))
                for days in policy.notify_before_days if stage.starts_at > at else ():
                    if stage.starts_at - days * DAY_MS > since:
                        timers.append(Timer(stage.starts_at - days * DAY_MS, TimerKind.NOTICE, stage, days))
        if state.refused_at is not None:
            settled_at = state.refused_at + policy.settle_hours * HOUR_MS
            timers.append(Timer(max(settled_at, since), TimerKind.SETTLED))
            timers.append(Timer(max((state.mixed_told_at or 0) + DAY_MS, since), TimerKind.MIXED))
        if state.last_seen_at > state.exchange_seen_at and state.build is not None and state.override is None:
            gone_at = state.exchange_seen_at + policy.stale_after_days * DAY_MS
            timers.append(Timer(max(gone_at, since), TimerKind.TAKEN_OVER))
    for span in cover.standstills():
        if span.ends_at > since:
            timers.append(Timer(span.ends_at, TimerKind.COVER))
    if not state.has_vanished:
        timers.append(Timer(max(state.last_seen_at + policy.stale_after_days * DAY_MS, since), TimerKind.VANISH))
    if state.is_report_due:
        timers.append(Timer(max(state.reported_at + HOUR_MS, since), TimerKind.REPORT))
    elif state.is_verdict_due:
        timers.append(Timer(max(state.verdict_issued_at + VERDICT_REST_MS, since), TimerKind.REPORT))
    timers.append(Timer(max(state.last_seen_at + policy.forget_after_days * DAY_MS, since), TimerKind.FORGET))
    return timers
