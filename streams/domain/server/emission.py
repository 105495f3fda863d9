"""Turns the changes of one moment into records."""

from __future__ import annotations

from streams.domain.outputs.notification import AdminNotification, NotificationKind
from streams.domain.outputs.server_report import ServerReport
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.policy import Mode
from streams.domain.server.changes import Changes
from streams.domain.server.effective import EffectiveEnforcement, effective_enforcement
from streams.domain.server.notifications import render_notification
from streams.domain.server.render import render_report, render_verdict
from streams.domain.server.rules import ServerRules
from streams.domain.server.state import ServerEnforcement


def emit(
    state: ServerEnforcement, rules: ServerRules, changes: Changes, at: int
) -> list[Verdict | AdminNotification | ServerReport]:
    """The records of the moment `at` (UTC milliseconds): at most one verdict, then the report, then the notifications.

    The state remembers what it has published: the verdict's revision, and when each record was written.
    """
    emitted: list[Verdict | AdminNotification | ServerReport] = [*changes.announcements]
    is_reported = changes.verdict or changes.report
    if not is_reported and not changes.notices:
        return emitted
    effective = effective_enforcement(state, rules, at)
    catalogue, service = rules.rulebook.catalogue_at(at), rules.rulebook.service
    _note_rates(state, effective, at)
    if changes.verdict:
        _note_verdict(state, rules, at)
        emitted.append(render_verdict(state, effective, catalogue, service, at))
    if is_reported:
        state.is_report_due = False
        state.reported_at = max(at, state.reported_at)
        emitted.append(render_report(state, effective, catalogue, rules.waivers.clock_stops()))
    is_silent = rules.policy_at(at).mode is Mode.OBSERVE
    for kind, stage, days in changes.notices:
        if not is_silent or kind is NotificationKind.SERVER_RESOLVED:
            emitted.append(render_notification(state, effective, catalogue, service, kind, at, stage, days))
    return emitted


def _note_rates(state: ServerEnforcement, effective: EffectiveEnforcement, at: int) -> None:
    """Remember when the server was first throttled and first blocked in this episode."""
    if state.throttled_at is None and effective.throttle_minutes_per_hour:
        state.throttled_at = at
    if state.blocked_at is None and effective.block_minutes_per_hour:
        state.blocked_at = at


def _note_verdict(state: ServerEnforcement, rules: ServerRules, at: int) -> None:
    policy = rules.policy_at(at)
    state.policy_id, state.policy_version = policy.policy_id, policy.version
    state.revision += 1
    state.verdict_issued_at = max(at, state.verdict_issued_at)
    state.is_verdict_due = False
