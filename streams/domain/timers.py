"""What is due for one server, and when."""

from __future__ import annotations

from enum import IntEnum

from streams.domain.connection import DAY_MS, HOUR_MS
from streams.domain.ladder import ScheduledStage
from streams.domain.pauses import Cover
from streams.domain.rules import Rulebook
from streams.domain.standing import stages_of
from streams.domain.state import ServerEnforcement


class TimerKind(IntEnum):
    """What can be due, in the order in which it fires when the moment is the same.

    The first two change what the others are.
    """

    POLICY = 0
    OVERRIDE = 1
    STAGE = 2
    COVER = 3
    NOTICE = 4
    VANISH = 5
    REPORT = 6
    ANNOUNCE = 7
    FORGET = 8


class Timer:
    """Something due at a moment (UTC milliseconds).

    `stage` is the stage that begins or is announced, `detail` the days ahead of a notice, or the moment of the policy
    that is announced.
    """

    __slots__ = ("detail", "due", "kind", "stage")

    def __init__(self, due: int, kind: TimerKind, stage: ScheduledStage | None = None, detail: int = 0) -> None:
        self.due, self.kind, self.stage, self.detail = due, kind, stage, detail


def timers_of(state: ServerEnforcement, rulebook: Rulebook, cover: Cover, at: int) -> list[Timer]:
    """Everything still to come since the server's clock, as the policy that governs at `at` has it.

    What should have happened before is due at the clock.
    """
    timers: list[Timer] = []
    since = state.clock_at
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
    for span in cover.standstills():
        if span.ends_at > since:
            timers.append(Timer(span.ends_at, TimerKind.COVER))
    if not state.has_vanished:
        timers.append(Timer(max(state.last_seen_at + policy.stale_after_days * DAY_MS, since), TimerKind.VANISH))
    if state.is_report_due:
        timers.append(Timer(max(state.reported_at + HOUR_MS, since), TimerKind.REPORT))
    elif state.is_verdict_due:
        timers.append(Timer(max(state.verdict_issued_at + HOUR_MS, since), TimerKind.REPORT))
    timers.append(Timer(max(state.last_seen_at + policy.forget_after_days * DAY_MS, since), TimerKind.FORGET))
    return timers
