"""Several machines behind one name: some show an accepted build, others one that is not."""

from __future__ import annotations

from streams.domain.exchange.build import Build
from streams.domain.exchange.detection import Detection
from streams.domain.exchange.evidence import Evidence
from streams.domain.outputs.notification import NotificationKind
from streams.domain.server.changes import Changes, notify
from streams.domain.server.connection import InboundConnection
from streams.domain.server.episode import resume_episode
from streams.domain.server.rules import ServerRules
from streams.domain.server.sighting import evidence_of
from streams.domain.server.state import ServerEnforcement
from streams.domain.time import DAY_MS, HOUR_MS


def is_settling(state: ServerEnforcement, rules: ServerRules, at: int) -> bool:
    """Whether an episode has ended so shortly ago that another build cannot be a regression yet."""
    settle_ms = rules.policy_at(at).settle_hours * HOUR_MS
    return state.resolved_at is not None and at - state.resolved_at <= settle_ms


def begin_mixed(
    state: ServerEnforcement, rules: ServerRules, at: int, build: Build | None, evidence: Evidence | None
) -> Changes:
    """Resume the episode that has just ended: the accepted `build` is not the only one behind the name."""
    state.accepted_build, state.accepted_evidence, state.accepted_at = build, evidence, state.resolved_at
    state.refused_at = at
    changes = resume_episode(state, rules, at)
    if state.mixed_told_at is None or at >= state.mixed_told_at + DAY_MS:
        changes = changes | notify_mixed(state, at)
    return changes


def notify_mixed(state: ServerEnforcement, at: int) -> Changes:
    """Notify that the server is mixed, and remember when."""
    state.mixed_told_at = at
    return notify(NotificationKind.SERVER_MIXED)


def note_accepted(state: ServerEnforcement, build: Build | None, event: InboundConnection, found: Detection) -> None:
    """Remember an accepted build that is shown beside one that is not."""
    if build != state.accepted_build or state.accepted_evidence is None:
        state.accepted_evidence = evidence_of(event, found)
    state.accepted_build, state.accepted_at, state.judged_at = build, event.observed_at, event.observed_at


def accepted_noted_at(state: ServerEnforcement) -> int | None:
    """When `note_accepted` was last there; None where the accepted build is only that of before the episode."""
    at = state.accepted_at
    return at if at is not None and at > state.clock.as_of else None
