"""What is due for one server, and when."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from streams.domain.policy.ladder import ScheduledStage
from streams.domain.server.effective import stages_of
from streams.domain.server.rules import ServerRules
from streams.domain.server.state import ServerEnforcement
from streams.domain.time import DAY_MS, HOUR_MS, LATEST_MS

_NEVER: Final = 4 * LATEST_MS


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
    WAIVER_END = 6
    NOTICE = 7
    VANISH = 8
    REPORT = 9
    ANNOUNCE = 10
    FORGET = 11


class Timer:
    """Something due at a moment (UTC milliseconds).

    `stage` is the stage that is announced, `detail` the days ahead of a notice, or the moment of the policy
    that is announced.
    """

    __slots__ = ("detail", "due", "kind", "stage")

    def __init__(self, due: int, kind: TimerKind, stage: ScheduledStage | None = None, detail: int = 0) -> None:
        self.due, self.kind, self.stage, self.detail = due, kind, stage, detail


class Timers:
    """What is still to come: `next_due` is when the first timer is due, `due` are those due by `until`."""

    __slots__ = ("due", "next_due", "until")

    def __init__(self, until: int) -> None:
        self.until, self.next_due = until, _NEVER
        self.due: list[Timer] = []

    def add(self, due: int, kind: TimerKind, stage: ScheduledStage | None = None, detail: int = 0) -> None:
        """One more; an object is made only of what may fire."""
        if due < self.next_due:
            self.next_due = due
        if due <= self.until:
            self.due.append(Timer(due, kind, stage, detail))


def timers_of(state: ServerEnforcement, rules: ServerRules, at: int, since: int, until: int) -> Timers:
    """Everything still to come since `since`, as the policy that governs at `at` has it, and what is due by `until`.

    What should have happened before is due at `since`; a notice that should have been given before is not given.
    """
    timers = Timers(until)
    policy, rulebook = rules.policy_at(at), rules.rulebook
    switch = rulebook.next_switch_after(since)
    if switch is not None:
        timers.add(switch, TimerKind.POLICY)
        for announced_at, switch_at in rulebook.switches_after(at):
            if not any(known.switch_at == switch_at for known in state.announced):
                timers.add(max(announced_at, since), TimerKind.ANNOUNCE, None, switch_at)
    if state.override is not None:
        timers.add(max(state.override.ends_at, since), TimerKind.OVERRIDE)
    if state.is_in_episode:
        for stage in stages_of(state, rules, at):
            if stage.stage > state.stage:
                timers.add(max(stage.starts_at, since), TimerKind.STAGE)
                for days in policy.notify_before_days if stage.starts_at > at else ():
                    if stage.starts_at - days * DAY_MS > since:
                        timers.add(stage.starts_at - days * DAY_MS, TimerKind.NOTICE, stage, days)
        if state.refused_at is not None:
            settled_at = state.refused_at + policy.settle_hours * HOUR_MS
            timers.add(max(settled_at, since), TimerKind.SETTLED)
            timers.add(max((state.mixed_told_at or 0) + DAY_MS, since), TimerKind.MIXED)
        if state.last_seen_at > state.exchange_seen_at and state.build is not None and state.override is None:
            gone_at = state.exchange_seen_at + policy.stale_after_days * DAY_MS
            timers.add(max(gone_at, since), TimerKind.TAKEN_OVER)
    for span in rules.waivers.clock_stops():
        if span.ends_at > since:
            timers.add(span.ends_at, TimerKind.WAIVER_END)
    if not state.has_vanished:
        timers.add(max(state.last_seen_at + policy.stale_after_days * DAY_MS, since), TimerKind.VANISH)
    if state.is_report_due:
        timers.add(max(state.reported_at + HOUR_MS, since), TimerKind.REPORT)
    elif state.is_verdict_due:
        timers.add(max(state.verdict_due_at, since), TimerKind.REPORT)
    timers.add(max(state.last_seen_at + policy.forget_after_days * DAY_MS, since), TimerKind.FORGET)
    return timers
