"""What another policy or catalogue would change: the same `decide`, run ahead on a server's row, without any effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from streams.domain.exchange.build import Build
from streams.domain.exchange.catalogue import Catalogue, Remedy
from streams.domain.exchange.detection import Detection, Origin
from streams.domain.outputs.server_report import ServerReport
from streams.domain.policy.judgement import Finding, Judgement
from streams.domain.policy.ladder import Action, Clock
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import PublishedCatalogue, Rulebook, effective_policies
from streams.domain.server.connection import InboundConnection
from streams.domain.server.decide import decide
from streams.domain.server.effective import effective_enforcement
from streams.domain.server.rules import ServerRules
from streams.domain.server.sighting import Sighting
from streams.domain.server.state import NO_TIME, ServerEnforcement
from streams.domain.tenant.override import Override
from streams.domain.tenant.waivers import Waivers


class PredictedStatus(NamedTuple):
    """A server's predicted status: its finding, the stage of the ladder (0 outside of it), and the edge's action."""

    finding: Finding
    stage: int
    action: Action


@dataclass(frozen=True, slots=True)
class Prediction:
    """A server's predicted status under the current policies, and with another policy or catalogue.

    `remedy` is the update that it needs then, by the catalogue of that moment; None where it needs none or none is out.
    """

    tenant_id: str
    server: str
    build: Build | None
    before: PredictedStatus
    after: PredictedStatus
    reason: str
    remedy: Remedy | None

    @property
    def is_change(self) -> bool:
        """Whether the other policy makes a difference."""
        return self.before != self.after


def with_policy(policies: Sequence[Policy], other: Policy, at: datetime) -> tuple[Policy, ...]:
    """The policies with another one from `at` on, whatever moment it bears; in place of one that begins just then."""
    others = [policy for policy in policies if policy.effective_at != at]
    return effective_policies(others, [replace(other, effective_at=at)])


def with_catalogue(
    catalogues: Sequence[PublishedCatalogue], other: Catalogue, at: datetime
) -> tuple[PublishedCatalogue, ...]:
    """The published catalogues with another one from `at` on, in place of one that begins at that very moment."""
    version = max((item.version for item in catalogues), default=0) + 1
    others = (item for item in catalogues if item.effective_at != at)
    return (*others, PublishedCatalogue(version, at, other))


def state_of(report: ServerReport) -> ServerEnforcement:
    """The state that a row was written from, as far as decisions to come depend on it."""
    required = report.recommended_build_versions[0] if report.recommended_build_versions else None
    shown = report.finding_without_override
    override = report.override_build and Override(report.override_build, report.override_until or 0)
    return ServerEnforcement(
        tenant_id=report.tenant_id,
        server=report.server,
        identity=report.identity,
        connector_id=report.connector_id,
        connector_type=report.connector_type,
        source_ip=report.source_ip,
        first_seen_at=report.first_seen_at,
        last_seen_at=report.last_seen_at,
        clock_at=report.reported_at,
        judged_at=report.judged_at,
        judgement=Judgement(report.finding, report.reason, required, report.remedy, would_be=report.would_be),
        judged_over=report.judged_connector_type,
        policy_id=report.policy_id,
        policy_version=report.policy_version,
        build=report.build,
        evidence=report.evidence,
        connections=report.connections,
        accepted=report.accepted,
        deferred=report.deferred,
        rejected=report.rejected,
        stage=report.rated_stage,
        reached_stage=report.reached_stage,
        detected_at=report.first_detected_date,
        clock=NO_TIME if report.clock_started_at is None else Clock(report.clock_elapsed_ms, report.clock_started_at),
        resolved_at=report.resolved_at,
        revision=report.verdict_revision,
        reported_at=report.reported_at,
        override=override or None,
        without_override=None if shown is None else Judgement(shown, "What the server itself shows."),
        exchange_seen_at=report.exchange_seen_at or 0,
        refused_at=report.refused_at,
        accepted_build=report.accepted_build,
        accepted_evidence=report.accepted_evidence,
        accepted_at=report.accepted_at,
        mixed_told_at=report.refused_at,
    )


def predict(report: ServerReport, current: Rulebook, other: Rulebook, at: int) -> Prediction:
    """Predict a server's status at `at` (UTC milliseconds), including its next connection with the same build."""
    before, _ = _outlook(report, current, at)
    after, judgement = _outlook(report, other, at)
    remedy = judgement.remedy if judgement.finding.is_enforced else None
    return Prediction(report.tenant_id, report.server, report.build, before, after, judgement.reason, remedy)


def _outlook(report: ServerReport, rulebook: Rulebook, at: int) -> tuple[PredictedStatus, Judgement]:
    waivers = Waivers(report.standstills)
    # A silent server is not forgotten ahead: what matters is where it stands when it comes back.
    state: ServerEnforcement | None = state_of(report)
    assert state is not None
    if state.exchange_seen_at >= state.last_seen_at:
        state.exchange_seen_at = max(at, report.last_seen_at)
    state.last_seen_at = max(at, report.last_seen_at)
    # The row may show the very moment at which the other policy begins: that moment is still to come.
    state.clock_at = min(state.clock_at, at - 1)
    state = decide(state, None, rulebook, at, waivers=waivers).state
    if state is not None and state.build is not None:
        state = decide(state, _next_connection(report, at), rulebook, at, waivers=waivers).state
    assert state is not None
    action = effective_enforcement(state, ServerRules(rulebook, waivers), at).action
    return PredictedStatus(state.finding, state.displayed_stage, action), state.judgement


def _next_connection(report: ServerReport, at: int) -> Sighting:
    connection = InboundConnection(
        event_id="what-if",
        observed_at=at,
        tenant_id=report.tenant_id,
        connector_id=report.connector_id,
        connector_type=report.judged_connector_type,
        source_ip=report.source_ip,
        helo="",
        received=(),
    )
    found = Detection(report.server, report.identity, Origin.EXCHANGE, report.build, None, None, None)
    return Sighting(connection, found)
