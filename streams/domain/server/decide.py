"""`decide`: one server's state and one event, or only the passing of time, give the next state and what to emit.

A server's history is a function of its own connections, the policies and the clock. Before a connection of time `t`
every timer of its server that is due at or before `t` fires, in due order, and its records carry its due time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from streams.domain.keys import ServerKey
from streams.domain.outputs.notification import AdminNotification, NotificationKind
from streams.domain.outputs.server_report import ServerReport
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.judgement import Finding
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.changes import NEW_REPORT, NO_CHANGES, Changes, notify, verdict_if
from streams.domain.server.effective import effective_enforcement
from streams.domain.server.emission import emit
from streams.domain.server.episode import end_taken_over, enter_stage, forget_mixed, switch_policy
from streams.domain.server.lookahead import look_ahead
from streams.domain.server.mixed import notify_mixed
from streams.domain.server.observe import first_seen, is_duplicate, observe
from streams.domain.server.override import Change, apply_change, end_override
from streams.domain.server.rules import ServerRules
from streams.domain.server.sighting import Sighting
from streams.domain.server.state import ServerEnforcement
from streams.domain.server.timers import Timer, TimerKind, timers_of
from streams.domain.tenant.waivers import NO_WAIVERS, Waivers


class Forgotten(NamedTuple):
    """A server whose state is dropped; `revision` is the last that its verdicts had."""

    key: ServerKey
    revision: int


Emitted = Verdict | AdminNotification | ServerReport | Forgotten


@dataclass(slots=True)
class Decision:
    """The next state (None when the server is forgotten), the next due moment, and what to emit, in order."""

    state: ServerEnforcement | None
    due_at: int | None = None
    emitted: list[Emitted] = field(default_factory=list)


def decide(
    state: ServerEnforcement | None,
    event: Sighting | None,
    rulebook: Rulebook,
    now: int,
    last_revision: int = 0,
    waivers: Waivers = NO_WAIVERS,
    change: Change | None = None,
) -> Decision:
    """Decide about one server.

    Args:
        state: what is remembered, which stays as it is; None for a server not seen before.
        event: a connection of this server, or None when only time passes.
        rulebook: the policies, the catalogue and the service.
        now: UTC milliseconds up to which timers fire: the event's `observed_at`, or the clock tick.
        last_revision: the verdict revision at which this server was forgotten, so that no id is given twice.
        waivers: the pauses and exceptions of this server.
        change: what a command changes at `now`, after the timers.
    """
    run = _Run(state.copy() if state is not None else None, ServerRules(rulebook, waivers), last_revision)
    run.advance(now)
    if change is not None and run.state is not None:
        run.apply(run.state, change, now)
        run.advance(now)
    if event is not None:
        ticked_to = max(now, run.state.clock_at) if run.state is not None else now
        run.observe(event)
        run.advance(ticked_to)
        run.catch_up(ticked_to)
    return Decision(run.state, run.due_at if run.state is not None else None, run.emitted)


class _Run:
    """One run of `decide`: the state as it is by now, and what was emitted so far."""

    def __init__(self, state: ServerEnforcement | None, rules: ServerRules, last_revision: int) -> None:
        self.state = state
        self.rules = rules
        self.last_revision = last_revision
        self.due_at: int | None = None
        self.emitted: list[Emitted] = []

    def advance(self, until: int) -> None:
        """Fire what is due at or before `until`, in due order; `due_at` is when the next is."""
        while self.state is not None:
            clock_at = self.state.clock_at
            due = timers_of(self.state, self.rules, clock_at, clock_at, -1).next_due
            if due > until:
                self.due_at = due
                self.state.clock_at = max(self.state.clock_at, until)
                break
            self._pass(self.state, due)

    def _pass(self, state: ServerEnforcement, due: int) -> None:
        """Let one moment pass, with everything that is due then."""
        rules = self.rules
        changes = _fire_first(state, rules, due)
        # Only now is it known what else is due: under the new policy, for the build that is judged from here on. What a
        # new schedule would have announced before this moment is left out: it would name the wrong number of days.
        following = timers_of(state, rules, due, max(state.clock_at, due - 1), due).due
        timers = [timer for timer in following if timer.kind > TimerKind.SETTLED]
        state.clock_at = due
        for timer in sorted(timers, key=lambda timer: timer.kind):
            changes = changes | _fire(state, rules, timer, due)
        self.emitted += emit(state, rules, changes, due)
        if any(timer.kind is TimerKind.FORGET for timer in timers):
            self.last_revision = state.revision
            self.emitted.append(Forgotten(state.key, state.revision))
            self.state = None

    def apply(self, state: ServerEnforcement, change: Change, at: int) -> None:
        """Apply what a command changes."""
        moment = max(at, state.clock_at)
        before, self.rules = self.rules, ServerRules(self.rules.rulebook, change.waivers)
        changes = apply_change(state, before, self.rules, change.override, moment)
        self.emitted += emit(state, self.rules, changes, moment)

    def observe(self, sighting: Sighting) -> None:
        """Take one connection into account; a duplicate changes nothing."""
        event = sighting.connection
        if self.state is not None and is_duplicate(self.state, event):
            return
        state = self.state or first_seen(sighting, self.rules, self.last_revision)
        self.state = state
        changes = observe(state, sighting, self.rules)
        self.emitted += emit(state, self.rules, changes, event.observed_at)
        if not changes.verdict and not changes.report:
            state.is_report_due = True

    def catch_up(self, until: int) -> None:
        """After a late connection: emit where the server stands by now, should its verdict not show it."""
        last = next((record for record in reversed(self.emitted) if isinstance(record, Verdict)), None)
        if self.state is not None and last is not None and last.effective_at < until:
            effective = effective_enforcement(self.state, self.rules, until)
            is_changed = (effective.action, effective.waived_until) != (last.action, last.paused_until)
            self.emitted += emit(self.state, self.rules, verdict_if(is_changed), until)
            self.advance(until)


def _fire_first(state: ServerEnforcement, rules: ServerRules, due: int) -> Changes:
    """Fire the timers of one moment that change what the others are."""
    kinds = {timer.kind for timer in timers_of(state, rules, state.clock_at, state.clock_at, due).due}
    changes = NO_CHANGES
    if TimerKind.POLICY in kinds:
        changes = changes | switch_policy(state, rules, due)
    if TimerKind.OVERRIDE in kinds:
        changes = changes | end_override(state, rules, due)
    if TimerKind.TAKEN_OVER in kinds and state.is_in_episode:
        changes = changes | end_taken_over(state, rules, due)
    if TimerKind.SETTLED in kinds and state.is_mixed:
        forget_mixed(state)
        changes = changes | NEW_REPORT
    return changes


def _fire(state: ServerEnforcement, rules: ServerRules, timer: Timer, due: int) -> Changes:
    match timer.kind:
        case TimerKind.MIXED:
            return notify_mixed(state, due)
        case TimerKind.STAGE:
            return enter_stage(state, rules, due)
        case TimerKind.WAIVER_END:
            # Where another span goes on, or begins at this very moment, nothing changes for the edge.
            return NEW_REPORT | verdict_if(state.is_in_episode and rules.waivers.until(due) is None)
        case TimerKind.NOTICE:
            return notify(NotificationKind.STAGE_UPCOMING, timer.stage, timer.detail)
        case TimerKind.VANISH:
            state.has_vanished = True
            is_told = state.finding in (Finding.COMPLIANT, Finding.OUT_OF_DATE, Finding.UNSUPPORTED)
            return NEW_REPORT | notify(NotificationKind.SERVER_VANISHED) if is_told else NEW_REPORT
        case TimerKind.REPORT:
            return NEW_REPORT | verdict_if(state.is_verdict_due and due >= state.verdict_due_at)
        case TimerKind.ANNOUNCE:
            return look_ahead(state, rules, due, timer.detail)
        case _:
            return NO_CHANGES
