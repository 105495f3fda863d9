"""`decide`: one server's state and one event, or only the passing of time, give the next state and what to tell.

A server's history is a function of its own connections, the policies and the clock. Before a connection of time `t`
every timer of its server that is due at or before `t` fires, in due order, and what it causes bears its due moment.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from streams.domain.build import Build
from streams.domain.connection import DAY_MS, HOUR_MS, InboundConnection, Outcome
from streams.domain.headers import Detection, Origin, detect
from streams.domain.judgement import Finding, Judgement
from streams.domain.ladder import Clock, ScheduledStage, elapsed_at
from streams.domain.notification import AdminNotification, NotificationKind
from streams.domain.pauses import NO_COVER, Cover
from streams.domain.policy import Mode, Policy
from streams.domain.report import ServerReport
from streams.domain.rules import Rulebook
from streams.domain.standing import Standing, stages_of, standing_of, standstills_of
from streams.domain.state import RECENT_EVENTS, Announced, Evidence, Override, ServerEnforcement
from streams.domain.telling import announcement_of, notification_of, report_of, verdict_of
from streams.domain.verdict import Verdict


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

    cover: Cover
    override: Override | None = None


class _Timer(IntEnum):
    """What can be due, in the order in which it fires when the moment is the same."""

    POLICY = 0
    OVERRIDE = 1
    STAGE = 2
    COVER = 3
    NOTICE = 4
    VANISH = 5
    REPORT = 6
    ANNOUNCE = 7
    FORGET = 8


def decide(
    state: ServerEnforcement | None,
    event: Sighting | None,
    rulebook: Rulebook,
    now: int,
    last_revision: int = 0,
    cover: Cover = NO_COVER,
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
    step = _Step(rulebook, copy.copy(state), last_revision, cover)
    step.advance(now)
    if change is not None and step.state is not None:
        step.change(step.state, change, now)
    if event is not None:
        ticked_to = max(now, step.state.clock_at) if step.state is not None else now
        step.apply(event.connection, event.found)
        step.advance(ticked_to)
    if step.state is not None:
        step.decision.due_at = min((timer[0] for timer in step.timers(step.state)), default=None)
    step.decision.state = step.state
    return step.decision


class Sighting(NamedTuple):
    """A connection and what its header shows of the server."""

    connection: InboundConnection
    found: Detection

    @property
    def server(self) -> str:
        """The server's name, the second part of its key."""
        return self.found.server


def sight(connection: InboundConnection) -> Sighting:
    """Find out which server connects."""
    return Sighting(connection, detect(connection.received, connection.helo, connection.source_ip))


def judgement_of(event: InboundConnection, found: Detection, rulebook: Rulebook) -> Judgement:
    """What a connection shows of its server, judged at its moment."""
    if found.origin is Origin.GATEWAY:
        return Judgement(Finding.NOT_EXCHANGE, "Exchange did not write the topmost line: a gateway is between.")
    if found.origin is Origin.NOTHING:
        return Judgement(Finding.UNDETERMINED, "The message carries no Received line of the connecting server.")
    if found.origin is Origin.SMTPSVC:
        reason = "Written by the SMTP service of Windows (Exchange 2000/2003 or IIS), whose number is not a build."
        return Judgement(Finding.UNDETERMINED, reason)
    if found.build is None:
        return Judgement(Finding.UNDETERMINED, "The topmost line carries no Exchange build.")
    return rulebook.judge(found.build, event.observed_at, event.connector_type, event.tenant_id)


def _is_above(build: Build, other: Build) -> bool:
    return (build.cu_line, build.update or 0) > (other.cu_line, other.update or 0)


class _Step:
    def __init__(self, rulebook: Rulebook, state: ServerEnforcement | None, last_revision: int, cover: Cover) -> None:
        self.rulebook = rulebook
        self.cover = cover
        self.state = state
        self.last_revision = last_revision
        self.decision = Decision(None)

    # --- time ---

    def timers(self, state: ServerEnforcement) -> Iterator[tuple[int, _Timer, ScheduledStage | None, int]]:
        """What is still to come, as (due, kind, stage, days ahead); ANNOUNCE has the policy's moment for the days."""
        policy = self.rulebook.policy_at(state.clock_at)
        switch = self.rulebook.next_switch_after(state.clock_at)
        if switch is not None:
            yield switch, _Timer.POLICY, None, 0
            for announced_at, switch_at in self.rulebook.switches_after(state.clock_at):
                if not any(known.switch_at == switch_at for known in state.announced):
                    yield max(announced_at, state.clock_at), _Timer.ANNOUNCE, None, switch_at
        if state.is_in_episode:
            for stage in self.standing(state, state.clock_at).upcoming:
                if stage.stage <= state.stage:
                    continue
                if stage.starts_at > state.clock_at:
                    yield stage.starts_at, _Timer.STAGE, stage, 0
                for days in policy.notify_before_days:
                    if stage.starts_at - days * DAY_MS > state.clock_at:
                        yield stage.starts_at - days * DAY_MS, _Timer.NOTICE, stage, days
            for span in self.cover.standstills():
                if span.ends_at > state.clock_at:
                    yield span.ends_at, _Timer.COVER, None, 0
        if state.override is not None:
            yield max(state.override.ends_at, state.clock_at), _Timer.OVERRIDE, None, 0
        if not state.has_vanished:
            yield max(state.last_seen_at + policy.stale_after_days * DAY_MS, state.clock_at), _Timer.VANISH, None, 0
        if state.is_report_due:
            yield max(state.reported_at + HOUR_MS, state.clock_at), _Timer.REPORT, None, 0
        yield max(state.last_seen_at + policy.forget_after_days * DAY_MS, state.clock_at), _Timer.FORGET, None, 0

    def advance(self, until: int) -> None:
        """Fire what is due at or before `until`, in due order."""
        while self.state is not None:
            timer = min(self.timers(self.state), key=lambda timer: timer[:2], default=None)
            if timer is None or timer[0] > until:
                break
            due = timer[0]
            # The same moment may hold several; the switch of policy alone changes what the others are.
            batch = [timer] if timer[1] <= _Timer.OVERRIDE else [t for t in self.timers(self.state) if t[0] == due]
            self.state.clock_at = due
            for _, kind, stage, days in sorted(batch, key=lambda timer: timer[1]):
                if self.state is not None:
                    self._fire(self.state, kind, due, stage, days)
        if self.state is not None:
            self.state.clock_at = max(self.state.clock_at, until)

    def _fire(self, state: ServerEnforcement, kind: _Timer, due: int, stage: ScheduledStage | None, days: int) -> None:
        match kind:
            case _Timer.POLICY:
                self._switch_policy(state, due)
            case _Timer.STAGE if stage is not None and stage.stage > state.stage:
                state.stage = state.reached_stage = stage.stage
                self._emit_verdict(state, due)
                self._notify(state, NotificationKind.STAGE_ENTERED, due)
            case _Timer.OVERRIDE:
                self._end_override(state, due)
            case _Timer.COVER if state.is_in_episode:
                # Where another span goes on, or begins at this very moment, nothing changes for the edge.
                if self.cover.until(due) is None and state.verdict_issued_at != due:
                    self._emit_verdict(state, due)
            case _Timer.NOTICE if stage is not None:
                self._notify(state, NotificationKind.STAGE_UPCOMING, due, stage, days)
            case _Timer.VANISH:
                state.has_vanished = True
                if state.finding in (Finding.COMPLIANT, Finding.OUT_OF_DATE, Finding.UNSUPPORTED):
                    self._notify(state, NotificationKind.SERVER_VANISHED, due)
                self._emit_report(state, due)
            case _Timer.REPORT:
                self._emit_report(state, due)
            case _Timer.ANNOUNCE:
                self._announce(state, due, days)
            case _Timer.FORGET:
                self.last_revision = state.revision
                self.decision.emitted.append(Forgotten(state.tenant_id, state.server, state.revision))
                self.state = None

    def _switch_policy(self, state: ServerEnforcement, due: int) -> None:
        build = self._judged_build(state)
        if not state.is_in_episode or build is None:
            return
        judged = self.rulebook.judge(build, due, state.judged_over, state.tenant_id)
        if not self._is_enforced(judged, due):
            state.judgement = judged
            self._resolve(state, due)
            return
        before = self.standing(state, due - 1)
        has_changed = judged != state.judgement
        state.judgement = judged
        reached = [stage.stage for stage in stages_of(state, self.rulebook, self.cover, due) if stage.starts_at <= due]
        state.stage = state.reached_stage = max([state.stage, *reached])
        after = self.standing(state, due)
        if has_changed or before != after:
            self._emit_verdict(state, due)

    def _announce(self, state: ServerEnforcement, due: int, switch_at: int) -> None:
        """Look ahead at a policy: tell when this server, accepted now, will fall below."""
        build = self._judged_build(state)
        falls = False
        if build is not None and not state.is_in_episode:
            judged = self.rulebook.judge(build, switch_at, state.judged_over, state.tenant_id)
            falls = self._is_enforced(judged, switch_at)
            if falls:
                policy = self.rulebook.policy_at(switch_at)
                told = announcement_of(state, judged, policy, switch_at, self.rulebook.service, due)
                self.decision.emitted.append(told)
        state.announced = (
            *(known for known in state.announced if known.switch_at > due),
            Announced(switch_at, falls),
        )

    # --- commands ---

    def change(self, state: ServerEnforcement, change: Change, at: int) -> None:
        """Take a command's effect into account."""
        moment = max(at, state.clock_at)
        before = self.standing(state, moment)
        self.cover = change.cover
        if change.override is not None:
            state.override = change.override
            self._rejudge(state, moment)
        elif state.is_in_episode and self.standing(state, moment) != before:
            self._emit_verdict(state, moment)

    def _end_override(self, state: ServerEnforcement, at: int) -> None:
        state.override = None
        self._notify(state, NotificationKind.OVERRIDE_ENDED, at)
        self._rejudge(state, at)

    def _rejudge(self, state: ServerEnforcement, at: int) -> None:
        """Judge again what is known, because the build to judge it as has changed."""
        build = self._judged_build(state)
        if build is None:
            return
        judged = self.rulebook.judge(build, at, state.judged_over, state.tenant_id)
        has_changed = judged != state.judgement
        state.judgement = judged
        if not self._is_enforced(judged, at):
            if state.is_in_episode:
                self._resolve(state, at)
        elif not state.is_in_episode:
            self._begin(state, at, self.rulebook.policy_at(at), was_accepted=True)
        elif has_changed:
            self._emit_verdict(state, at)

    @staticmethod
    def _judged_build(state: ServerEnforcement) -> Build | None:
        return state.override.build if state.override is not None else state.build

    # --- connections ---

    def apply(self, event: InboundConnection, found: Detection) -> None:
        """Take one connection into account; a duplicate changes nothing, a late one only counts."""
        mark = int.from_bytes(hashlib.blake2b(event.event_id.encode(), digest_size=8).digest(), "big", signed=True)
        if self.state is not None and mark in self.state.recent_events:
            return
        is_new = self.state is None
        state = self.state or self._first_seen(event, found)
        self.state = state
        state.recent_events = (*state.recent_events[-RECENT_EVENTS + 1 :], mark)
        self._count(state, event)
        if is_new or event.observed_at >= state.judged_at:
            self._judge(state, event, found)
        if not state.reported_at or event.observed_at >= state.reported_at + HOUR_MS:
            self._emit_report(state, event.observed_at)
        else:
            # A row written in this very step already shows this connection.
            rows = (row for row in reversed(self.decision.emitted) if isinstance(row, ServerReport))
            last = next(rows, None)
            state.is_report_due = last is None or last.connections != state.connections

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
    def _count(state: ServerEnforcement, event: InboundConnection) -> None:
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
            state.has_vanished = False

    def _judge(self, state: ServerEnforcement, event: InboundConnection, seen: Detection) -> None:
        found = seen
        at = event.observed_at
        policy = self.rulebook.policy_at(at)
        if state.build is not None:
            if found.build is None:
                return  # A message without a build does not take back what an earlier one showed.
            if event.connector_type not in policy.connector_types and state.finding is not Finding.OUT_OF_SCOPE:
                return  # Nor does one over a connector that is not judged.
        if state.override is not None and found.build is not None:
            if _is_above(found.build, state.override.build):
                state.override = None
                self._notify(state, NotificationKind.OVERRIDE_ENDED, at)
            else:
                found = dataclasses.replace(found, build=state.override.build)
        stamp = seen.build
        judged = judgement_of(event, found, self.rulebook)
        build = self.rulebook.catalogue.canonical(stamp) if stamp else None
        known = self._judged_build(state)
        was_accepted = known is None or not self._would_enforce(state, known, at)
        has_changed = judged != state.judgement or build != state.build
        if has_changed or state.evidence is None:
            state.evidence = Evidence(
                received=found.received,
                position=found.position,
                protocol=found.protocol,
                event_id=event.event_id,
                message_id=event.message_id,
                connector_id=event.connector_id,
                source_ip=event.source_ip,
                observed_at=at,
            )
        if state.announced and build != state.build:
            # What was fine under a policy to come may not be with this build.
            state.announced = tuple(known for known in state.announced if known.is_told)
        state.build, state.judgement, state.judged_at = build, judged, at
        state.judged_over = event.connector_type
        state.policy_id, state.policy_version = policy.policy_id, policy.version
        if not self._is_enforced(judged, at):
            if state.is_in_episode:
                self._resolve(state, at)
        elif not state.is_in_episode:
            self._begin(state, at, policy, was_accepted)
        elif has_changed:
            self._emit_verdict(state, at)

    def _would_enforce(self, state: ServerEnforcement, build: Build, at: int) -> bool:
        return self.rulebook.judge(build, at, state.judged_over, state.tenant_id).finding.is_enforced

    def _is_enforced(self, judged: Judgement, at: int) -> bool:
        return judged.finding.is_enforced and self.rulebook.policy_at(at).mode is not Mode.OBSERVE

    # --- episodes ---

    def _begin(self, state: ServerEnforcement, at: int, policy: Policy, was_accepted: bool) -> None:
        # Timers of the episode count from its own beginning, also when a tick has gone further meanwhile.
        state.clock_at = at
        within = policy.resume_within_days * DAY_MS
        is_regression = state.resolved_at is not None and was_accepted and at - state.resolved_at <= within
        if is_regression:
            state.clock = Clock(state.clock.elapsed_ms, at)
        else:
            state.clock, state.detected_at, state.reached_stage = Clock(0, at), at, 0
        state.resolved_at = None
        reached = [stage.stage for stage in stages_of(state, self.rulebook, self.cover, at) if stage.starts_at <= at]
        state.stage = state.reached_stage = max([1, state.reached_stage, *reached])
        self._emit_verdict(state, at)
        kind = NotificationKind.SERVER_REGRESSED if is_regression else NotificationKind.SERVER_DETECTED
        self._notify(state, kind, at)

    def _resolve(self, state: ServerEnforcement, at: int) -> None:
        state.clock = Clock(elapsed_at(state.clock, at, standstills_of(self.rulebook, self.cover)), at)
        state.stage, state.resolved_at = 0, at
        self._emit_verdict(state, at)
        self._notify(state, NotificationKind.SERVER_RESOLVED, at)

    def standing(self, state: ServerEnforcement, at: int) -> Standing:
        """Where the server stands at a moment."""
        return standing_of(state, self.rulebook, self.cover, at)

    # --- telling ---

    def _emit_verdict(self, state: ServerEnforcement, at: int) -> None:
        policy = self.rulebook.policy_at(at)
        state.policy_id, state.policy_version = policy.policy_id, policy.version
        state.revision += 1
        state.verdict_issued_at = max(at, state.verdict_issued_at)
        verdict = verdict_of(state, self.standing(state, at), self.rulebook.service, at)
        self.decision.emitted.append(verdict)
        self._emit_report(state, at)

    def _emit_report(self, state: ServerEnforcement, at: int) -> None:
        state.is_report_due = False
        state.reported_at = max(at, state.reported_at)
        standing, covered = self.standing(state, at), self.cover.standstills()
        self.decision.emitted.append(report_of(state, standing, self.rulebook.catalogue, covered))

    def _notify(
        self,
        state: ServerEnforcement,
        kind: NotificationKind,
        at: int,
        stage: ScheduledStage | None = None,
        days: int = 0,
    ) -> None:
        if self.rulebook.policy_at(at).mode is Mode.OBSERVE and kind is not NotificationKind.SERVER_RESOLVED:
            return
        standing = self.standing(state, at)
        self.decision.emitted.append(notification_of(state, standing, self.rulebook.service, kind, at, stage, days))
