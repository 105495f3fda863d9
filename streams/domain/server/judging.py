"""What a connection shows of its server, and what follows for the episode.

The build that is believed counts: the one that the connection shows, or a higher stamp that still holds.
"""

from __future__ import annotations

from typing import NamedTuple

from streams.domain.exchange.build import Build
from streams.domain.exchange.detection import Detection
from streams.domain.exchange.evidence import Evidence
from streams.domain.outputs.notification import NotificationKind
from streams.domain.policy.judgement import Finding, Judgement
from streams.domain.server.changes import NEW_REPORT, NO_CHANGES, Changes, notify, verdict_if
from streams.domain.server.connection import InboundConnection
from streams.domain.server.episode import begin_episode, forget_lookahead, resolve_episode
from streams.domain.server.mixed import begin_mixed, is_settling, note_accepted
from streams.domain.server.override import ends_override, judge_again
from streams.domain.server.rules import ServerRules
from streams.domain.server.sighting import TAKEN_OVER, evidence_of, judgement_of
from streams.domain.server.stamps import Stamp, highest_held, with_stamp
from streams.domain.server.state import ServerEnforcement
from streams.domain.time import DAY_MS


class _Before(NamedTuple):
    """What was believed before a connection; while it is settling, another build is no regression yet."""

    was_accepted: bool
    is_settling: bool
    build: Build | None
    evidence: Evidence | None


def may_be_judged(state: ServerEnforcement, rules: ServerRules, event: InboundConnection) -> bool:
    """Whether a connection says anything of its server: not over a connector that is not judged, if another is."""
    judged = rules.policy_at(event.observed_at).connector_types
    return state.build is None or event.connector_type in judged or state.judged_over not in judged


def tells_nothing(shown: Judgement) -> bool:
    """Whether a connection does not count for an episode: it shows a number that no build of an own server has."""
    return shown.finding in (Finding.UNDETERMINED, Finding.NOT_EXCHANGE)


def judge_shown(state: ServerEnforcement, rules: ServerRules, event: InboundConnection, found: Detection) -> Changes:
    """Judge what a connection shows, change the state by it, and return what that changes for others."""
    at = event.observed_at
    if state.build is not None:
        if found.build is None:
            return NO_CHANGES  # A message without a build does not take back what an earlier one showed.
        if not may_be_judged(state, rules, event):
            return NO_CHANGES  # Nor does one over another connector, which is not judged.
    build = _believed_build(state, rules, event, found)
    shown = judgement_of(event, found if build == found.build else found._replace(build=build), rules.rulebook)
    if state.is_in_episode and tells_nothing(shown):
        return NO_CHANGES
    before, override = _before(state, rules, at), state.override
    is_over = override is not None and ends_override(override, found.build, rules, at)
    if before.is_settling and shown.finding.is_enforced and (override is None or is_over) and _waited(state, found):
        return NO_CHANGES
    judgement, changes = shown, NO_CHANGES
    if override is not None and is_over:
        before = before._replace(build=override.build, evidence=None)
        state.override = state.without_override = None
        changes = NEW_REPORT | notify(NotificationKind.OVERRIDE_ENDED)
    elif override is not None:
        state.without_override = shown
        judgement = rules.rulebook.judge(override.build, at, event.connector_type, event.tenant_id)
    if state.is_mixed and not judgement.finding.is_enforced:
        note_accepted(state, build, event, found)
        # The override is over, but it is the other build that the server stays judged by.
        return changes | judge_again(state, rules, at, state.judgement) if is_over else changes
    has_changed = _believe(state, rules, event, found, build, judgement)
    return changes | _follow(state, rules, at, before, has_changed)


def _believed_build(
    state: ServerEnforcement, rules: ServerRules, event: InboundConnection, found: Detection
) -> Build | None:
    """The build to take the server for: what the connection shows, or a higher stamp that still holds."""
    if found.build is None:
        return None
    policy = rules.policy_at(event.observed_at)
    if state.judged_over not in policy.connector_types and event.connector_type in policy.connector_types:
        state.stamps = ()  # What came over a connector that is not judged may be anybody's.
    holds_ms = policy.stamp_holds_days * DAY_MS
    shown = Stamp(found.build, event.observed_at, found.by_address or "", event.source_ip)
    believed = highest_held(state.stamps, shown, holds_ms)
    state.stamps = with_stamp(state.stamps, shown, holds_ms)
    return believed


def _before(state: ServerEnforcement, rules: ServerRules, at: int) -> _Before:
    """What was believed until now; within an episode nothing begins, and only the build counts."""
    if state.is_in_episode:
        return _Before(False, False, state.build, state.evidence)
    if state.judgement == TAKEN_OVER:
        return _Before(True, False, state.build, state.evidence)
    known = state.judged_build
    was_accepted = known is None or not _would_enforce(state, rules, known, at)
    return _Before(was_accepted, was_accepted and is_settling(state, rules, at), state.build, state.evidence)


def _would_enforce(state: ServerEnforcement, rules: ServerRules, build: Build, at: int) -> bool:
    return rules.rulebook.judge(build, at, state.judged_over, state.tenant_id).finding.is_enforced


def _waited(state: ServerEnforcement, found: Detection) -> bool:
    """Whether a message was written before the last episode ended: it waited while the server was updated."""
    return found.dated_at is not None and found.dated_at < (state.resolved_at or 0)


def _believe(
    state: ServerEnforcement,
    rules: ServerRules,
    event: InboundConnection,
    found: Detection,
    build: Build | None,
    judgement: Judgement,
) -> bool:
    """Take over a build and its judgement, with the message that showed it; whether either is another one."""
    if build != state.build or event.connector_type is not state.judged_over:
        forget_lookahead(state)
    has_changed = judgement != state.judgement or build != state.build
    if (has_changed and build == found.build) or state.evidence is None:
        state.evidence = evidence_of(event, found)
    policy = rules.policy_at(event.observed_at)
    state.build, state.judgement, state.judged_at = build, judgement, event.observed_at
    state.judged_over = event.connector_type
    state.policy_id, state.policy_version = policy.policy_id, policy.version
    return has_changed


def _follow(state: ServerEnforcement, rules: ServerRules, at: int, before: _Before, has_changed: bool) -> Changes:
    """What follows for the episode from the judgement of `at`: it begins, goes on, or ends."""
    if not state.judgement.finding.is_enforced:
        return resolve_episode(state, rules, at) if state.is_in_episode else NO_CHANGES
    if state.is_in_episode:
        return _go_on(state, at, has_changed)
    if not rules.allows_episodes(at):
        return NO_CHANGES
    if before.is_settling:
        return begin_mixed(state, rules, at, before.build, before.evidence)
    return begin_episode(state, rules, at, before.was_accepted)


def _go_on(state: ServerEnforcement, at: int, has_changed: bool) -> Changes:
    """Go on within the episode; another build or reason asks for a verdict, though not for every turn that it takes."""
    if state.is_mixed:
        state.refused_at = at
    if has_changed:
        state.is_verdict_due, state.changed_at = True, at
    return verdict_if(state.is_verdict_due and at >= state.verdict_due_at)
