"""Looks ahead at a switch of policy or catalogue, to warn of a server that it will no longer accept."""

from __future__ import annotations

from streams.domain.outputs.notification import AdminNotification
from streams.domain.server.changes import NO_CHANGES, Changes
from streams.domain.server.notifications import render_announcement
from streams.domain.server.rules import ServerRules
from streams.domain.server.state import Announced, ServerEnforcement


def look_ahead(state: ServerEnforcement, rules: ServerRules, at: int, switch_at: int) -> Changes:
    """Look at `at` ahead at the switch of `switch_at`, both UTC milliseconds, and remember the result."""
    announcement = _announcement(state, rules, at, switch_at)
    to_come = (known for known in state.announced if known.switch_at > at)
    state.announced = (*to_come, Announced(switch_at, announcement is not None))
    return NO_CHANGES if announcement is None else Changes(announcements=(announcement,))


def _announcement(state: ServerEnforcement, rules: ServerRules, at: int, switch_at: int) -> AdminNotification | None:
    """The warning for a server that is accepted at `at` and will not be; None where there is nothing to warn of."""
    build, rulebook = state.judged_build, rules.rulebook
    if build is None or state.is_in_episode:
        return None
    judgement = rulebook.judge(build, switch_at, state.judged_over, state.tenant_id, at)
    if not judgement.finding.is_enforced or not rules.allows_episodes(switch_at):
        return None
    policy, catalogue = rulebook.policy_at(switch_at, at), rulebook.catalogue_at(switch_at, at)
    return render_announcement(state, judgement, policy, switch_at, catalogue, rulebook.service, at)
