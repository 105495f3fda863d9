"""Commands about one server: waivers, and an override, which ends by time or by a higher stamp."""

from __future__ import annotations

from typing import NamedTuple

from streams.domain.exchange.build import Build, Product
from streams.domain.outputs.notification import NotificationKind
from streams.domain.policy.judgement import Judgement
from streams.domain.server.changes import NEW_REPORT, NO_CHANGES, Changes, notify, verdict_if
from streams.domain.server.episode import begin_episode, enter_stage, forget_lookahead, resolve_episode, take_judgement
from streams.domain.server.rules import ServerRules
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.override import Override
from streams.domain.tenant.waivers import Waivers


class Change(NamedTuple):
    """What a command changes for one server: its waivers, or the build to judge it as until a moment."""

    waivers: Waivers
    override: Override | None = None


def apply_change(
    state: ServerEnforcement, before: ServerRules, after: ServerRules, override: Override | None, at: int
) -> Changes:
    """Apply what a command changes at `at` (UTC milliseconds): the rules of the server, or its override."""
    changes = NO_CHANGES
    if override is not None:
        changes = _begin_override(state, after, override, at)
    elif after.waivers != before.waivers:
        changes = NEW_REPORT | verdict_if(state.is_in_episode)
    if state.is_in_episode:
        changes = changes | enter_stage(state, after, at)
    return changes


def _begin_override(state: ServerEnforcement, rules: ServerRules, override: Override, at: int) -> Changes:
    if state.override is None:
        state.without_override = state.judgement
    state.override = override
    return NEW_REPORT | judge_again(state, rules, at, state.judgement)


def end_override(state: ServerEnforcement, rules: ServerRules, at: int) -> Changes:
    """End an override whose time is over: the server is judged as the build that it shows."""
    shown = state.without_override or state.judgement
    state.override = state.without_override = None
    return NEW_REPORT | notify(NotificationKind.OVERRIDE_ENDED) | judge_again(state, rules, at, shown)


def judge_again(state: ServerEnforcement, rules: ServerRules, at: int, fallback: Judgement) -> Changes:
    """Judge again, as the build to judge the server as has changed; `fallback` holds where there is no build."""
    build = state.judged_build
    judgement = fallback
    if build is not None:
        judgement = rules.rulebook.judge(build, at, state.judged_over, state.tenant_id)
    has_changed = judgement != state.judgement
    take_judgement(state, rules, judgement, at)
    forget_lookahead(state)
    if not judgement.finding.is_enforced:
        return resolve_episode(state, rules, at) if state.is_in_episode else NO_CHANGES
    if state.is_in_episode:
        return verdict_if(has_changed)
    return begin_episode(state, rules, at, was_accepted=True) if rules.allows_episodes(at) else NO_CHANGES


def ends_override(override: Override, shown: Build | None, rules: ServerRules, at: int) -> bool:
    """Whether a stamp is that of an own server, and above the build of the override."""
    if shown is None:
        return False
    build = rules.rulebook.catalogue_at(at).canonical(shown)
    return build.product not in (None, Product.EXCHANGE_ONLINE) and _is_above(build, override.build)


def _is_above(build: Build, other: Build) -> bool:
    return (build.cu_line, build.update or 0) > (other.cu_line, other.update or 0)
