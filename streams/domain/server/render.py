"""Renders a server's state as the records that go out: its verdict and its report."""

from __future__ import annotations

from collections.abc import Sequence

from streams.domain.edge import in_force
from streams.domain.exchange.build import Build
from streams.domain.exchange.catalogue import Catalogue
from streams.domain.exchange.detection import Identity, product_of
from streams.domain.outputs.replies import fill_reply, reply_template
from streams.domain.outputs.server_report import ServerReport, ServerStatus
from streams.domain.outputs.verdict import Verdict, verdict_id
from streams.domain.policy.judgement import Finding
from streams.domain.policy.ladder import Action, ClockStop, ScheduledStage
from streams.domain.policy.rulebook import Service
from streams.domain.server.effective import EffectiveEnforcement
from streams.domain.server.sighting import build_name
from streams.domain.server.state import ServerEnforcement


def render_verdict(
    state: ServerEnforcement, effective: EffectiveEnforcement, catalogue: Catalogue, service: Service, at: int
) -> Verdict:
    """The verdict that follows from a state; `at` is the moment that caused it, UTC milliseconds."""
    judged = state.judgement
    verdict = Verdict(
        verdict_id=verdict_id(state.key, state.revision),
        revision=state.revision,
        tenant_id=state.tenant_id,
        server=state.server,
        identity=state.identity,
        action=effective.action,
        stage=state.displayed_stage,
        throttle_minutes_per_hour=effective.throttle_minutes_per_hour,
        block_minutes_per_hour=effective.block_minutes_per_hour,
        finding=judged.finding,
        reason=judged.reason,
        build=state.build,
        required_build=judged.required_build,
        remedy=judged.remedy,
        cves=known_cves(state, catalogue),
        detected_at=state.detected_at,
        effective_at=at,
        schedule=effective.upcoming,
        paused_until=effective.waived_until,
        smtp_reply_throttle=None,
        smtp_reply_block=None,
        smtp_template_throttle=None,
        smtp_template_block=None,
        evidence=state.evidence,
        policy_id=state.policy_id,
        policy_version=state.policy_version,
        issued_at=state.verdict_issued_at,
        resolved_at=state.resolved_at,
        is_mixed=state.is_mixed,
    )
    return with_replies(verdict, service, state.judged_build)


def known_cves(state: ServerEnforcement, catalogue: Catalogue) -> tuple[str, ...]:
    """The vulnerabilities of the build that the server is judged as, accepted or not."""
    return catalogue.missing_cves(state.judged_build) if state.judged_build is not None else ()


def status_of(state: ServerEnforcement, effective: EffectiveEnforcement) -> ServerStatus:
    """One word for where a server stands; what the edge does outranks that it has not been seen for a while."""
    if state.is_in_episode and effective.exempt_until is not None:
        return ServerStatus.EXEMPT
    if state.is_in_episode and effective.paused_until is not None:
        return ServerStatus.PAUSED
    if state.is_mixed:
        return ServerStatus.MIXED
    if state.is_in_episode and effective.action is Action.BLOCK:
        return ServerStatus.BLOCKED
    if state.is_in_episode and effective.action is Action.THROTTLE:
        return ServerStatus.THROTTLED
    if state.has_vanished:
        return ServerStatus.VANISHED
    if state.is_in_episode:
        return ServerStatus.REPORTED
    match state.finding:
        case Finding.COMPLIANT:
            return ServerStatus.RESOLVED if state.resolved_at is not None else ServerStatus.COMPLIANT
        case Finding.OUT_OF_DATE | Finding.UNSUPPORTED:
            return ServerStatus.REPORTED
        case finding:
            return ServerStatus(finding.value)


def render_report(
    state: ServerEnforcement, effective: EffectiveEnforcement, catalogue: Catalogue, clock_stops: Sequence[ClockStop]
) -> ServerReport:
    """The row of the server report.

    Args:
        state: the server's state.
        effective: what applies to it at the time of the row.
        catalogue: names builds, their vulnerabilities and ends of support.
        clock_stops: every span in which the enforcement clock is stopped.
    """
    judged = state.judgement
    following = effective.next_above(state.stage)
    throttled = _first_with(effective.upcoming, Action.THROTTLE)
    blocked = _first_with(effective.upcoming, Action.BLOCK)
    product = product_of(state.server, state.build)
    return ServerReport(
        tenant_id=state.tenant_id,
        server=state.server,
        server_fqdn=state.server if state.identity is Identity.STAMP else None,
        identity=state.identity,
        build=state.build,
        build_name=build_name(catalogue, state.server, state.build),
        exchange_server=product.value if product else None,
        finding=judged.finding,
        would_be=judged.would_be,
        reason=judged.reason,
        stage=state.displayed_stage,
        status=status_of(state, effective),
        action=effective.action,
        first_seen_at=state.first_seen_at,
        last_seen_at=state.last_seen_at,
        first_detected_date=state.detected_at,
        throttle_enabled_date=state.throttled_at or (throttled.starts_at if throttled else None),
        blocking_enabled_date=state.blocked_at or (blocked.starts_at if blocked else None),
        next_stage_start_date=following.starts_at if following else None,
        next_stage_throttle_rate=following.throttle_minutes_per_hour if following else None,
        next_stage_block_rate=following.block_minutes_per_hour if following else None,
        recommended_build_versions=(judged.required_build,) if judged.required_build else (),
        remedy=judged.remedy,
        cves=known_cves(state, catalogue),
        support_ends_on=catalogue.support_ends_on(product) if product else None,
        resolved_at=state.resolved_at,
        connections=state.connections,
        accepted=state.accepted,
        deferred=state.deferred,
        rejected=state.rejected,
        connector_id=state.connector_id,
        connector_type=state.connector_type,
        source_ip=state.source_ip,
        evidence=state.evidence,
        paused_until=effective.paused_until,
        exempt_until=effective.exempt_until,
        override_build=state.override.build if state.override else None,
        override_until=state.override.ends_at if state.override else None,
        schedule=effective.upcoming,
        verdict_revision=state.revision,
        policy_id=state.policy_id,
        policy_version=state.policy_version,
        reported_at=state.reported_at,
        judged_connector_type=state.judged_over,
        judged_at=state.judged_at,
        clock_elapsed_ms=state.clock.elapsed_ms,
        clock_started_at=state.clock.as_of or None,
        reached_stage=state.reached_stage,
        rated_stage=state.stage,
        finding_without_override=state.without_override.finding if state.without_override else None,
        standstills=tuple(span for span in sorted(clock_stops) if span.ends_at > state.clock.as_of),
        exchange_seen_at=state.exchange_seen_at or None,
        refused_at=state.refused_at,
        accepted_build=state.accepted_build,
        accepted_at=state.accepted_at,
        accepted_evidence=state.accepted_evidence,
    )


def _first_with(schedule: Sequence[ScheduledStage], action: Action) -> ScheduledStage | None:
    """The first of what is to come that throttles or blocks; one that is over at its own moment does neither."""
    for index, stage in enumerate(schedule):
        rate = stage.block_minutes_per_hour if action is Action.BLOCK else stage.throttle_minutes_per_hour
        lasts = index + 1 == len(schedule) or schedule[index + 1].starts_at > stage.starts_at
        if rate and lasts:
            return stage
    return None


def with_replies(verdict: Verdict, service: Service, build: Build | None) -> Verdict:
    """The verdict with its reply texts: templates for every stage that acts, and the lines of the present stage.

    `build` is what the server is judged as: under an override another one than the verdict's, which is the stamped one.
    Both templates are there as soon as either action is: an edge that no longer trusts an old verdict throttles where
    it would block.
    """
    rates = (verdict.throttle_minutes_per_hour, verdict.block_minutes_per_hour)
    acts = any(rates) or any(item.throttle_minutes_per_hour or item.block_minutes_per_hour for item in verdict.schedule)
    if not acts:
        return verdict
    throttle = reply_template(Action.THROTTLE, service, verdict.server, build, verdict.required_build)
    block = reply_template(Action.BLOCK, service, verdict.server, build, verdict.required_build)
    following = in_force(verdict, verdict.effective_at).next_stage_at
    return verdict._replace(
        smtp_template_throttle=throttle,
        smtp_template_block=block,
        smtp_reply_throttle=fill_reply(throttle, rates[0], following) if rates[0] else None,
        smtp_reply_block=fill_reply(block, rates[1], following) if rates[1] else None,
    )
