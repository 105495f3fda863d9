"""`decide`: one server's state and one event, or only the passing of time, give the next state and what to tell.

A server's history is a function of its own connections, the policies and the clock. Before a connection of time `t`
every timer of its server that is due at or before `t` fires, in due order, and what it causes bears its due moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from streams.domain.exchange.build import Build, Product
from streams.domain.exchange.received import Detection, Origin
from streams.domain.outputs.notification import AdminNotification, NotificationKind
from streams.domain.outputs.render import render_announcement, render_notification, render_report, render_verdict
from streams.domain.outputs.server_report import ServerReport
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.judgement import Finding, Judgement
from streams.domain.policy.ladder import Clock, ScheduledStage, elapsed_at
from streams.domain.policy.policy import Mode
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection, Outcome
from streams.domain.server.effective import EffectiveEnforcement, clock_stops_of, effective_enforcement, stages_of
from streams.domain.server.sighting import TAKEN_OVER, Sighting, evidence_of, judgement_of
from streams.domain.server.stamps import Stamp, highest_held, with_stamp
from streams.domain.server.state import (
    Announced,
    Evidence,
    Override,
    ServerEnforcement,
    add_fingerprint,
    fingerprint,
    seen_recently,
)
from streams.domain.server.timers import Timer, TimerKind, Timers, timers_of
from streams.domain.tenant.waivers import NO_WAIVERS, Waivers
from streams.domain.time import DAY_MS, HOUR_MS


class Forgotten(NamedTuple):
    """A server whose state goes; `revision` is the last that its verdicts had."""

    tenant_id: str
    server: str
    revision: int


Emitted = Verdict | AdminNotification | ServerReport | Forgotten


@dataclass(slots=True)
class Decision:
    """The next state (None when the server is forgotten), the next due moment, and what to emit, in order."""

    state: ServerEnforcement | None
    due_at: int | None = None
    emitted: list[Emitted] = field(default_factory=list)


class Change(NamedTuple):
    """What a command changes for one server: its cover, or the build to judge it as until a moment."""

    waivers: Waivers
    override: Override | None = None


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
        state: what is remembered; None for a server not seen before.
        event: a connection of this server, or None when only time passes.
        rulebook: the policies, the catalogue and the service.
        now: UTC milliseconds up to which timers fire: the event's `observed_at`, or the clock tick.
        last_revision: the verdict revision at which this server was forgotten, so that no id is given twice.
        cover: the pauses and exceptions of this server.
        change: what a command changes at `now`, after the timers.
    """
    step = _Step(rulebook, state.copy() if state is not None else None, last_revision, waivers)
    step.advance(now)
    if change is not None and step.state is not None:
        step.change(step.state, change, now)
        step.advance(now)
    if event is not None:
        ticked_to = max(now, step.state.clock_at) if step.state is not None else now
        step.apply(event.connection, event.detection)
        step.advance(ticked_to)
        step.catch_up(ticked_to)
    if step.state is not None:
        step.decision.due_at = step.due_at
    step.decision.state = step.state
    return step.decision


def _is_above(build: Build, other: Build) -> bool:
    return (build.cu_line, build.update or 0) > (other.cu_line, other.update or 0)


def _set_stage(state: ServerEnforcement, stage: int) -> None:
    state.stage = stage
    state.reached_stage = max(state.reached_stage, stage)


def _note_accepted(state: ServerEnforcement, build: Build | None, event: InboundConnection, found: Detection) -> None:
    """Remember an accepted build that is shown beside one that is not."""
    if build != state.accepted_build or state.accepted_evidence is None:
        state.accepted_evidence = evidence_of(event, found)
    state.accepted_build, state.accepted_at, state.judged_at = build, event.observed_at, event.observed_at


def _forget_mixed(state: ServerEnforcement) -> None:
    state.refused_at = state.accepted_build = state.accepted_evidence = state.accepted_at = None


class _Step:
    """One run of `decide`: changes go into the state at once, what is to be told waits until the moment is done."""

    def __init__(
        self, rulebook: Rulebook, state: ServerEnforcement | None, last_revision: int, waivers: Waivers
    ) -> None:
        self.rulebook = rulebook
        self.waivers = waivers
        self.state = state
        self.last_revision = last_revision
        self.due_at: int | None = None
        self.decision = Decision(None)
        self._verdict_changed = False
        self._report_changed = False
        self._pending_notices: list[tuple[NotificationKind, ScheduledStage | None, int]] = []

    # --- time ---

    def timers(self, state: ServerEnforcement, at: int, since: int, until: int) -> Timers:
        """What is still to come since `since`, under the policy that governs at `at`, and what is due by `until`."""
        return timers_of(state, self.rulebook, self.waivers, at, since, until)

    def advance(self, until: int) -> None:
        """Fire what is due at or before `until`, in due order; `due_at` is when the next is."""
        while self.state is not None:
            clock_at = self.state.clock_at
            due = self.timers(self.state, clock_at, clock_at, -1).next_due
            if due > until:
                self.due_at = due
                self.state.clock_at = max(self.state.clock_at, until)
                break
            self._pass(self.state, due)

    def _pass(self, state: ServerEnforcement, due: int) -> None:
        """Let one moment pass, with everything that is due then."""
        kinds = {timer.kind for timer in self.timers(state, state.clock_at, state.clock_at, due).due}
        if TimerKind.POLICY in kinds:
            self._switch_policy(state, due)
        if TimerKind.OVERRIDE in kinds:
            self._end_override(state, due)
        if TimerKind.TAKEN_OVER in kinds and state.is_in_episode:
            self._end_taken_over(state, due)
        if TimerKind.SETTLED in kinds and state.is_mixed:
            _forget_mixed(state)
            self._report_changed = True
        # Only now is it known what else is due: under the new policy, for the build that is judged from here on. What a
        # new schedule would have told before this moment is not told now: it would name the wrong number of days.
        following = self.timers(state, due, max(state.clock_at, due - 1), due).due
        timers = [timer for timer in following if timer.kind > TimerKind.SETTLED]
        state.clock_at = due
        for timer in sorted(timers, key=lambda timer: timer.kind):
            self._fire(state, timer, due)
        self._emit(state, due)
        if any(timer.kind is TimerKind.FORGET for timer in timers):
            self.last_revision = state.revision
            self.decision.emitted.append(Forgotten(state.tenant_id, state.server, state.revision))
            self.state = None

    def _fire(self, state: ServerEnforcement, timer: Timer, due: int) -> None:
        match timer.kind:
            case TimerKind.MIXED:
                self._tell_mixed(state, due)
            case TimerKind.STAGE:
                self._enter(state, due)
            case TimerKind.WAIVER_END:
                # Where another span goes on, or begins at this very moment, nothing changes for the edge.
                self._verdict_changed |= state.is_in_episode and self.waivers.until(due) is None
                self._report_changed = True
            case TimerKind.NOTICE:
                self._pending_notices.append((NotificationKind.STAGE_UPCOMING, timer.stage, timer.detail))
            case TimerKind.VANISH:
                state.has_vanished = self._report_changed = True
                if state.finding in (Finding.COMPLIANT, Finding.OUT_OF_DATE, Finding.UNSUPPORTED):
                    self._pending_notices.append((NotificationKind.SERVER_VANISHED, None, 0))
            case TimerKind.REPORT:
                self._verdict_changed |= state.is_verdict_due and due >= state.verdict_due_at
                self._report_changed = True
            case TimerKind.ANNOUNCE:
                self._announce(state, due, timer.detail)

    def _enter(self, state: ServerEnforcement, at: int) -> None:
        """Enter the last stage that has begun, if it is above the present one."""
        begun = [stage for stage in stages_of(state, self.rulebook, self.waivers, at) if stage.starts_at <= at]
        if begun and begun[-1].stage > state.stage:
            _set_stage(state, begun[-1].stage)
            self._verdict_changed = True
            self._tell_stage(state, at)

    def _tell_stage(self, state: ServerEnforcement, at: int) -> None:
        """Tell of the present stage, once: where a slower ladder catches up, only the rates change."""
        if state.stage > state.told_stage and self.rulebook.policy_at(at).mode is Mode.ENFORCE:
            state.told_stage = state.stage
            self._pending_notices.append((NotificationKind.STAGE_ENTERED, None, 0))

    def _switch_policy(self, state: ServerEnforcement, due: int) -> None:
        build = state.judged_build
        if not state.is_in_episode or build is None:
            return
        judged = self.rulebook.judge(build, due, state.judged_over, state.tenant_id)
        before, has_changed = self.effective(state, due - 1), judged != state.judgement
        self._take_judgement(state, judged, due)
        if not judged.finding.is_enforced:
            self._resolve(state, due)
            return
        # Another ladder may bring later dates: its rates apply when its dates say so, not before.
        begun = [stage.stage for stage in stages_of(state, self.rulebook, self.waivers, due) if stage.starts_at <= due]
        state.stage = max(1, min([state.stage, *begun[-1:]]))
        self._verdict_changed |= has_changed or before != self.effective(state, due)
        self._tell_stage(state, due)

    def _take_judgement(self, state: ServerEnforcement, judged: Judgement, at: int) -> None:
        """Believe another judgement of what is known, under the policy in force at `at`."""
        policy = self.rulebook.policy_at(at)
        state.judgement, state.judged_at = judged, max(state.judged_at, at)
        state.policy_id, state.policy_version = policy.policy_id, policy.version

    def _announce(self, state: ServerEnforcement, due: int, switch_at: int) -> None:
        """Look ahead at a policy: tell when this server, accepted now, will fall below."""
        build = state.judged_build
        falls = False
        if build is not None and not state.is_in_episode:
            judged = self.rulebook.judge(build, switch_at, state.judged_over, state.tenant_id, due)
            falls = judged.finding.is_enforced and self._can_begin(switch_at)
            if falls:
                policy = self.rulebook.policy_at(switch_at, due)
                catalogue, service = self.rulebook.catalogue_at(switch_at, due), self.rulebook.service
                told = render_announcement(state, judged, policy, switch_at, catalogue, service, due)
                self.decision.emitted.append(told)
        state.announced = (
            *(known for known in state.announced if known.switch_at > due),
            Announced(switch_at, falls),
        )

    # --- commands ---

    def change(self, state: ServerEnforcement, change: Change, at: int) -> None:
        """Take a command's effect into account."""
        moment = max(at, state.clock_at)
        before, covered = self.effective(state, moment), self.waivers
        self.waivers = change.waivers
        if change.override is not None:
            if state.override is None:
                state.without_override = state.judgement
            state.override = change.override
            self._rejudge(state, moment)
            self._report_changed = True
        elif self.effective(state, moment) != before or change.waivers != covered:
            self._verdict_changed |= state.is_in_episode
            self._report_changed = True
        if state.is_in_episode:
            self._enter(state, moment)
        self._emit(state, moment)

    def _end_override(self, state: ServerEnforcement, at: int) -> None:
        known, state.override, state.without_override = state.without_override, None, None
        self._report_changed = True
        self._pending_notices.append((NotificationKind.OVERRIDE_ENDED, None, 0))
        self._rejudge(state, at, known)

    def _rejudge(self, state: ServerEnforcement, at: int, otherwise: Judgement | None = None) -> None:
        """Judge again what is known, as the build to judge it as has changed; `otherwise` holds without a build."""
        build = state.judged_build
        judged = otherwise or state.judgement
        if build is not None:
            judged = self.rulebook.judge(build, at, state.judged_over, state.tenant_id)
        has_changed = judged != state.judgement
        self._take_judgement(state, judged, at)
        self._look_ahead_again(state)
        if not judged.finding.is_enforced:
            if state.is_in_episode:
                self._resolve(state, at)
        elif not state.is_in_episode:
            if self._can_begin(at):
                self._begin(state, at, was_accepted=True)
        else:
            self._verdict_changed |= has_changed

    # --- connections ---

    def apply(self, event: InboundConnection, found: Detection) -> None:
        """Take one connection into account; a duplicate changes nothing, a late one only counts."""
        mark = fingerprint(event.observed_at, event.event_id.encode())
        is_new = self.state is None
        # What is later than everything seen cannot have been seen before.
        is_late = self.state is not None and event.observed_at <= self.state.last_seen_at
        if is_late and self.state is not None and seen_recently(self.state.recent_events, mark):
            return
        state = self.state or self._first_seen(event, found)
        self.state = state
        state.recent_events = add_fingerprint(state.recent_events, mark)
        self._count(state, event, found)
        if found.origin is not Origin.GATEWAY and self._may_be_judged(state, event):
            state.exchange_seen_at = max(state.exchange_seen_at, event.observed_at)
        if is_new or event.observed_at >= state.judged_at:
            self._judge(state, event, found)
        self._report_changed |= not state.reported_at or event.observed_at >= state.reported_at + HOUR_MS
        if not self._emit(state, event.observed_at):
            state.is_report_due = True

    def catch_up(self, until: int) -> None:
        """After a late connection: say where the server stands by now, should its verdict not show it."""
        verdicts = (row for row in reversed(self.decision.emitted) if isinstance(row, Verdict))
        last = next(verdicts, None)
        if self.state is not None and last is not None and last.effective_at < until:
            effective = self.effective(self.state, until)
            self._verdict_changed = (effective.action, effective.waived_until) != (last.action, last.paused_until)
            self._emit(self.state, until)
            self.advance(until)

    def _first_seen(self, event: InboundConnection, found: Detection) -> ServerEnforcement:
        policy = self.rulebook.policy_at(event.observed_at)
        return ServerEnforcement(
            tenant_id=event.tenant_id,
            server=found.server,
            identity=found.identity,
            connector_id=event.connector_id,
            connector_type=event.connector_type,
            source_ip=event.source_ip,
            first_seen_at=event.observed_at,
            last_seen_at=event.observed_at,
            clock_at=event.observed_at,
            judged_at=event.observed_at,
            judgement=judgement_of(event, found, self.rulebook),
            judged_over=event.connector_type,
            policy_id=policy.policy_id,
            policy_version=policy.version,
            revision=self.last_revision,
        )

    @staticmethod
    def _count(state: ServerEnforcement, event: InboundConnection, found: Detection) -> None:
        state.connections += 1
        state.accepted += event.outcome is Outcome.ACCEPTED
        state.deferred += event.outcome is Outcome.DEFERRED
        state.rejected += event.outcome is Outcome.REJECTED
        state.first_seen_at = min(state.first_seen_at, event.observed_at)
        if event.observed_at >= state.last_seen_at:
            state.last_seen_at = event.observed_at
            state.connector_id = event.connector_id
            state.connector_type = event.connector_type
            state.source_ip = event.source_ip
            # A server whose name a gateway took over is not back with the gateway's next message.
            if found.origin is not Origin.GATEWAY or state.judgement != TAKEN_OVER:
                state.has_vanished = False

    def _may_be_judged(self, state: ServerEnforcement, event: InboundConnection) -> bool:
        """Whether a connection says anything of its server: not over a connector that is not judged, if another is."""
        judged = self.rulebook.policy_at(event.observed_at).connector_types
        return state.build is None or event.connector_type in judged or state.judged_over not in judged

    def _judge(self, state: ServerEnforcement, event: InboundConnection, found: Detection) -> None:
        at = event.observed_at
        policy = self.rulebook.policy_at(at)
        if state.build is not None:
            if found.build is None:
                return  # A message without a build does not take back what an earlier one showed.
            if not self._may_be_judged(state, event):
                return  # Nor does one over another connector, which is not judged.
        build = self._believed_build(state, event, found)
        shown = found if build == found.build else found._replace(build=build)
        judged = judgement_of(event, shown, self.rulebook)
        if state.is_in_episode and judged.finding in (Finding.UNDETERMINED, Finding.NOT_EXCHANGE):
            return  # Nor does a number that no build of an own server has.
        known = state.judged_build
        is_taken_over = state.judgement == TAKEN_OVER
        # Within an episode nothing begins, and neither is asked for.
        was_accepted = not state.is_in_episode and (
            known is None or is_taken_over or not self._would_enforce(state, known, at)
        )
        is_settling = was_accepted and not is_taken_over and self._is_settling(state, at)
        ends_override = state.override is not None and self._ends_override(state.override, found.build, at)
        is_judged = state.override is None or ends_override
        is_dated_before = found.dated_at is not None and found.dated_at < (state.resolved_at or 0)
        if is_settling and is_dated_before and is_judged and judged.finding.is_enforced:
            return  # It waited in a queue while the server was updated.
        accepted = state.build, state.evidence
        if state.override is not None:
            if ends_override:
                accepted = state.override.build, None
                state.override = state.without_override = None
                self._pending_notices.append((NotificationKind.OVERRIDE_ENDED, None, 0))
            else:
                state.without_override = judged
                judged = self.rulebook.judge(state.override.build, at, event.connector_type, event.tenant_id)
        is_enforced = judged.finding.is_enforced
        if state.is_mixed and not is_enforced:
            _note_accepted(state, build, event, found)
            return
        if build != state.build or event.connector_type is not state.judged_over:
            self._look_ahead_again(state)
        has_changed = judged != state.judgement or build != state.build
        if (has_changed and build == found.build) or state.evidence is None:
            state.evidence = evidence_of(event, found)
        state.build, state.judgement, state.judged_at = build, judged, at
        state.judged_over = event.connector_type
        state.policy_id, state.policy_version = policy.policy_id, policy.version
        if not is_enforced:
            if state.is_in_episode:
                self._resolve(state, at)
        elif not state.is_in_episode:
            if self._can_begin(at) and is_settling:
                self._mix(state, at, *accepted)
            elif self._can_begin(at):
                self._begin(state, at, was_accepted)
        else:
            if state.is_mixed:
                state.refused_at = at
            if has_changed:
                state.is_verdict_due, state.changed_at = True, at
            self._verdict_changed |= state.is_verdict_due and at >= state.verdict_due_at

    def _believed_build(self, state: ServerEnforcement, event: InboundConnection, found: Detection) -> Build | None:
        """The build to take the server for: what the connection shows, or a higher stamp that still holds."""
        if found.build is None:
            return None
        policy = self.rulebook.policy_at(event.observed_at)
        if state.judged_over not in policy.connector_types and event.connector_type in policy.connector_types:
            state.stamps = ()  # What came over a connector that is not judged may be anybody's.
        holds_ms = policy.stamp_holds_days * DAY_MS
        shown = Stamp(found.build, event.observed_at, found.by_address or "", event.source_ip)
        believed = highest_held(state.stamps, shown, holds_ms)
        state.stamps = with_stamp(state.stamps, shown, holds_ms)
        return believed

    def _ends_override(self, override: Override, shown: Build | None, at: int) -> bool:
        """Whether a stamp is that of an own server, and above the build of the override."""
        if shown is None:
            return False
        build = self.rulebook.catalogue_at(at).canonical(shown)
        return build.product not in (None, Product.EXCHANGE_ONLINE) and _is_above(build, override.build)

    @staticmethod
    def _look_ahead_again(state: ServerEnforcement) -> None:
        """What was fine under a policy to come may not be with another build."""
        if state.announced:
            state.announced = tuple(known for known in state.announced if known.is_told)

    def _would_enforce(self, state: ServerEnforcement, build: Build, at: int) -> bool:
        return self.rulebook.judge(build, at, state.judged_over, state.tenant_id).finding.is_enforced

    def _can_begin(self, at: int) -> bool:
        """Whether an episode can begin: a policy that only observes begins none."""
        return self.rulebook.policy_at(at).mode is not Mode.OBSERVE

    # --- episodes ---

    def _begin(self, state: ServerEnforcement, at: int, was_accepted: bool) -> None:
        """Begin an episode, or let the last one go on where it stopped."""
        policy = self.rulebook.policy_at(at)
        within = policy.resume_within_days * DAY_MS
        is_regression = state.resolved_at is not None and was_accepted and at - state.resolved_at <= within
        if not is_regression:
            state.clock, state.detected_at = Clock(0, at), at
            state.reached_stage = state.told_stage = 0
            state.throttled_at = state.blocked_at = None
        self._go_on(state, at)
        kind = NotificationKind.SERVER_REGRESSED if is_regression else NotificationKind.SERVER_DETECTED
        self._pending_notices.append((kind, None, 0))

    def _go_on(self, state: ServerEnforcement, at: int) -> None:
        """Let the episode's clock run from `at` on."""
        # Timers of the episode count from its own beginning, also when a tick has gone further meanwhile.
        state.clock_at = at
        state.clock = Clock(state.clock.elapsed_ms, at)
        state.resolved_at = None
        begun = [stage.stage for stage in stages_of(state, self.rulebook, self.waivers, at) if stage.starts_at <= at]
        _set_stage(state, max([1, *begun[-1:]]))
        state.told_stage = max(state.told_stage, state.stage)
        self._verdict_changed = True

    def _end(self, state: ServerEnforcement, at: int) -> None:
        """End the episode; its clock stands still."""
        state.clock = Clock(elapsed_at(state.clock, at, clock_stops_of(self.rulebook, self.waivers)), at)
        state.stage, state.resolved_at = 0, at
        state.judged_at = max(state.judged_at, at)
        _forget_mixed(state)
        self._look_ahead_again(state)
        self._verdict_changed = True

    def _resolve(self, state: ServerEnforcement, at: int) -> None:
        self._end(state, at)
        self._pending_notices.append((NotificationKind.SERVER_RESOLVED, None, 0))

    def _end_taken_over(self, state: ServerEnforcement, at: int) -> None:
        """End the episode of a server in whose name only a gateway has sent for long."""
        state.judgement = TAKEN_OVER
        self._end(state, at)
        if not state.has_vanished:
            self._pending_notices.append((NotificationKind.SERVER_VANISHED, None, 0))
        state.has_vanished = True

    # --- several machines behind one name ---

    def _is_settling(self, state: ServerEnforcement, at: int) -> bool:
        """Whether an episode has ended so shortly ago that another build cannot be a regression yet."""
        settle_ms = self.rulebook.policy_at(at).settle_hours * HOUR_MS
        return state.resolved_at is not None and at - state.resolved_at <= settle_ms

    def _mix(self, state: ServerEnforcement, at: int, build: Build | None, evidence: Evidence | None) -> None:
        """Let the episode that has just ended go on: the accepted `build` is not the only one behind the name."""
        state.accepted_build, state.accepted_evidence, state.accepted_at = build, evidence, state.resolved_at
        state.refused_at = at
        self._go_on(state, at)
        if state.mixed_told_at is None or at >= state.mixed_told_at + DAY_MS:
            self._tell_mixed(state, at)

    def _tell_mixed(self, state: ServerEnforcement, at: int) -> None:
        state.mixed_told_at = at
        self._pending_notices.append((NotificationKind.SERVER_MIXED, None, 0))

    def effective(self, state: ServerEnforcement, at: int) -> EffectiveEnforcement:
        """Where the server stands at a moment."""
        return effective_enforcement(state, self.rulebook, self.waivers, at)

    # --- telling ---

    def _emit(self, state: ServerEnforcement, at: int) -> bool:
        """Emit what the moment `at` brought: at most one verdict, then the row, then the notifications.

        Gives whether a row was emitted.
        """
        is_row = self._verdict_changed or self._report_changed
        if is_row or self._pending_notices:
            policy, effective = self.rulebook.policy_at(at), self.effective(state, at)
            catalogue, service = self.rulebook.catalogue_at(at), self.rulebook.service
            emitted = self.decision.emitted
            if state.throttled_at is None and effective.throttle_minutes_per_hour:
                state.throttled_at = at
            if state.blocked_at is None and effective.block_minutes_per_hour:
                state.blocked_at = at
            if self._verdict_changed:
                state.policy_id, state.policy_version = policy.policy_id, policy.version
                state.revision += 1
                state.verdict_issued_at = max(at, state.verdict_issued_at)
                state.is_verdict_due = False
                emitted.append(render_verdict(state, effective, catalogue, service, at))
            if is_row:
                state.is_report_due = False
                state.reported_at = max(at, state.reported_at)
                emitted.append(render_report(state, effective, catalogue, self.waivers.clock_stops()))
            for kind, stage, days in self._pending_notices:
                if policy.mode is not Mode.OBSERVE or kind is NotificationKind.SERVER_RESOLVED:
                    emitted.append(render_notification(state, effective, catalogue, service, kind, at, stage, days))
        self._verdict_changed = self._report_changed = False
        self._pending_notices = []
        return is_row
