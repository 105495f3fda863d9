"""One connection of a server: it is counted, and judged unless it comes too late for that."""

from __future__ import annotations

from streams.domain.exchange.detection import Detection, Origin
from streams.domain.server.changes import NEW_REPORT, NO_CHANGES, Changes
from streams.domain.server.connection import InboundConnection, Outcome
from streams.domain.server.judging import judge_shown, may_be_judged
from streams.domain.server.rules import ServerRules
from streams.domain.server.sighting import TAKEN_OVER, Sighting, judgement_of
from streams.domain.server.state import (
    MOST_COUNTED,
    ServerEnforcement,
    add_fingerprint,
    fingerprint,
    seen_recently,
)
from streams.domain.time import HOUR_MS


def first_seen(sighting: Sighting, rules: ServerRules, last_revision: int) -> ServerEnforcement:
    """The state of a server before its first connection is counted; its verdicts go on from `last_revision`."""
    event, found = sighting
    policy = rules.policy_at(event.observed_at)
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
        judgement=judgement_of(event, found, rules.rulebook),
        judged_over=event.connector_type,
        policy_id=policy.policy_id,
        policy_version=policy.version,
        revision=last_revision,
    )


def is_duplicate(state: ServerEnforcement, event: InboundConnection) -> bool:
    """Whether a connection is among the recent ones; what is later than everything seen cannot have been seen."""
    if event.observed_at > state.last_seen_at:
        return False
    return seen_recently(state.recent_events, fingerprint(event.observed_at, event.event_id.encode()))


def observe(state: ServerEnforcement, sighting: Sighting, rules: ServerRules) -> Changes:
    """Take a connection into account that is no duplicate; one that is older than the last judgement only counts.

    Without another reason the report is written once an hour at most; what it does not show yet leaves it pending.
    """
    event, found = sighting
    at = event.observed_at
    state.recent_events = add_fingerprint(state.recent_events, fingerprint(at, event.event_id.encode()))
    _count(state, event, found)
    if found.origin is not Origin.GATEWAY and may_be_judged(state, rules, event):
        state.exchange_seen_at = max(state.exchange_seen_at, at)
    changes = judge_shown(state, rules, event, found) if at >= state.judged_at else NO_CHANGES
    if not state.reported_at or at >= state.reported_at + HOUR_MS:
        return changes | NEW_REPORT
    return changes


def _count(state: ServerEnforcement, event: InboundConnection, found: Detection) -> None:
    # What was refused at MAIL was a connection too: so the outcomes add up to the connections.
    state.connections = min(state.connections + 1 + event.refused_before, MOST_COUNTED)
    state.accepted += event.outcome is Outcome.ACCEPTED
    state.deferred += event.outcome is Outcome.DEFERRED
    state.rejected = min(state.rejected + (event.outcome is Outcome.REJECTED) + event.refused_before, MOST_COUNTED)
    state.first_seen_at = min(state.first_seen_at, event.observed_at)
    if event.observed_at >= state.last_seen_at:
        state.last_seen_at = event.observed_at
        state.connector_id = event.connector_id
        state.connector_type = event.connector_type
        state.source_ip = event.source_ip
        # A server whose name a gateway took over is not back with the gateway's next message.
        if found.origin is not Origin.GATEWAY or state.judgement != TAKEN_OVER:
            state.has_vanished = False
