"""The episode of one server: it begins, enters stages, follows a switch of policy, and ends.

Each function changes the state and returns what that changes for others; `at` is in UTC milliseconds.
"""

from __future__ import annotations

from streams.domain.outputs.notification import NotificationKind
from streams.domain.policy.judgement import Judgement
from streams.domain.policy.ladder import Clock, elapsed_at
from streams.domain.policy.policy import Mode
from streams.domain.server.changes import NEW_VERDICT, NO_CHANGES, Changes, notify, verdict_if
from streams.domain.server.effective import effective_enforcement, stages_of
from streams.domain.server.rules import ServerRules
from streams.domain.server.sighting import TAKEN_OVER
from streams.domain.server.state import ServerEnforcement
from streams.domain.time import DAY_MS


def begin_episode(state: ServerEnforcement, rules: ServerRules, at: int, was_accepted: bool) -> Changes:
    """Begin an episode, or resume the last one where it stopped: then the server has regressed."""
    within = rules.policy_at(at).resume_within_days * DAY_MS
    is_regression = state.resolved_at is not None and was_accepted and at - state.resolved_at <= within
    if not is_regression:
        state.clock, state.detected_at = Clock(0, at), at
        state.reached_stage = state.told_stage = 0
        state.throttled_at = state.blocked_at = None
    changes = resume_episode(state, rules, at)
    kind = NotificationKind.SERVER_REGRESSED if is_regression else NotificationKind.SERVER_DETECTED
    return changes | notify(kind)


def resume_episode(state: ServerEnforcement, rules: ServerRules, at: int) -> Changes:
    """Let the enforcement clock run from `at` on, in the stage that its time has reached."""
    # Timers of the episode count from its own beginning, also when a tick has gone further meanwhile.
    state.clock_at = at
    state.clock = Clock(state.clock.elapsed_ms, at)
    state.resolved_at = None
    _set_stage(state, max(1, _stage_begun(state, rules, at)))
    state.told_stage = max(state.told_stage, state.stage)
    return NEW_VERDICT


def resolve_episode(state: ServerEnforcement, rules: ServerRules, at: int) -> Changes:
    """End the episode of a server that is accepted, or that the policy no longer enforces."""
    return _end_episode(state, rules, at) | notify(NotificationKind.SERVER_RESOLVED)


def end_taken_over(state: ServerEnforcement, rules: ServerRules, at: int) -> Changes:
    """End the episode of a server in whose name only a gateway has sent mail for long."""
    state.judgement = TAKEN_OVER
    changes = _end_episode(state, rules, at)
    if not state.has_vanished:
        changes = changes | notify(NotificationKind.SERVER_VANISHED)
    state.has_vanished = True
    return changes


def _end_episode(state: ServerEnforcement, rules: ServerRules, at: int) -> Changes:
    """End the episode; its clock stands still."""
    state.clock = Clock(elapsed_at(state.clock, at, rules.clock_stops()), at)
    state.stage, state.resolved_at = 0, at
    state.judged_at = max(state.judged_at, at)
    forget_mixed(state)
    forget_lookahead(state)
    return NEW_VERDICT


def enter_stage(state: ServerEnforcement, rules: ServerRules, at: int) -> Changes:
    """Enter the last stage that has begun, if it is above the present one."""
    begun = _stage_begun(state, rules, at)
    if begun <= state.stage:
        return NO_CHANGES
    _set_stage(state, begun)
    return NEW_VERDICT | _notify_stage(state, rules, at)


def _stage_begun(state: ServerEnforcement, rules: ServerRules, at: int) -> int:
    """The last stage whose date has come, 0 for none."""
    begun = [stage.stage for stage in stages_of(state, rules, at) if stage.starts_at <= at]
    return begun[-1] if begun else 0


def _set_stage(state: ServerEnforcement, stage: int) -> None:
    state.stage = stage
    state.reached_stage = max(state.reached_stage, stage)


def _notify_stage(state: ServerEnforcement, rules: ServerRules, at: int) -> Changes:
    """Notify of the present stage, once: where a slower ladder catches up, only the rates change."""
    if state.stage <= state.told_stage or rules.policy_at(at).mode is not Mode.ENFORCE:
        return NO_CHANGES
    state.told_stage = state.stage
    return notify(NotificationKind.STAGE_ENTERED)


def switch_policy(state: ServerEnforcement, rules: ServerRules, at: int) -> Changes:
    """Judge a server in an episode by the policy and the catalogue that begin at `at`."""
    build = state.judged_build
    if not state.is_in_episode or build is None:
        return NO_CHANGES
    judgement = rules.rulebook.judge(build, at, state.judged_over, state.tenant_id)
    before, has_changed = effective_enforcement(state, rules, at - 1), judgement != state.judgement
    take_judgement(state, rules, judgement, at)
    if not judgement.finding.is_enforced:
        return resolve_episode(state, rules, at)
    # Another ladder may bring later dates: its rates apply when its dates say so, not before.
    begun = _stage_begun(state, rules, at)
    state.stage = max(1, min(state.stage, begun) if begun else state.stage)
    changes = verdict_if(has_changed or before != effective_enforcement(state, rules, at))
    return changes | _notify_stage(state, rules, at)


def take_judgement(state: ServerEnforcement, rules: ServerRules, judgement: Judgement, at: int) -> None:
    """Replace the judgement of what is known by another, under the policy in force at `at`."""
    policy = rules.policy_at(at)
    state.judgement, state.judged_at = judgement, max(state.judged_at, at)
    state.policy_id, state.policy_version = policy.policy_id, policy.version


def forget_mixed(state: ServerEnforcement) -> None:
    """From now on only one build is shown behind the server's name."""
    state.refused_at = state.accepted_build = state.accepted_evidence = state.accepted_at = None


def forget_lookahead(state: ServerEnforcement) -> None:
    """Look at the policies to come again: what was fine under them may not be with another build."""
    if state.announced:
        state.announced = tuple(known for known in state.announced if known.is_told)
