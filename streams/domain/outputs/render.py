"""Puts a server's state into words: its verdict, its notifications and its row, all from one `EffectiveEnforcement`."""

from __future__ import annotations

from collections.abc import Sequence

from streams.domain.exchange.catalogue import Catalogue
from streams.domain.exchange.detection import Identity, product_of
from streams.domain.outputs.notification import AdminNotification, NotificationKind, Severity, notification_id
from streams.domain.outputs.server_report import ServerReport, ServerStatus
from streams.domain.outputs.verdict import Verdict, first_with, verdict_id, with_replies
from streams.domain.policy.judgement import Finding, Judgement
from streams.domain.policy.ladder import Action, ClockStop, ScheduledStage
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import Service
from streams.domain.server.effective import EffectiveEnforcement
from streams.domain.server.sighting import build_name
from streams.domain.server.state import ServerEnforcement
from streams.domain.time import iso


def render_verdict(
    state: ServerEnforcement, effective: EffectiveEnforcement, catalogue: Catalogue, service: Service, at: int
) -> Verdict:
    """The verdict that follows from a state; `at` is the moment that caused it, UTC milliseconds."""
    judged = state.judgement
    verdict = Verdict(
        verdict_id=verdict_id(state.tenant_id, state.server, state.revision),
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
        cves=_cves(state, catalogue),
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


def _cves(state: ServerEnforcement, catalogue: Catalogue) -> tuple[str, ...]:
    """The vulnerabilities of the build that the server is judged as, accepted or not."""
    return catalogue.missing_cves(state.judged_build) if state.judged_build is not None else ()


def _effect(throttle: int, block: int) -> str:
    if block >= 60:
        return "all its mail is blocked"
    parts = [f"throttled for {throttle}" if throttle else "", f"blocked for {block}" if block else ""]
    said = " and ".join(part for part in parts if part)
    return f"its mail is {said} minutes of every hour" if said else "its mail is accepted and the server is reported"


def _wording(state: ServerEnforcement, effective: EffectiveEnforcement, kind: NotificationKind) -> tuple[str, str]:
    """Title and first sentences of a notification about the server itself."""
    effect = _effect(effective.throttle_minutes_per_hour, effective.block_minutes_per_hour)
    match kind:
        case NotificationKind.SERVER_DETECTED:
            return f"Exchange server {state.server} is not accepted any more", f"{state.judgement.reason} Now {effect}."
        case NotificationKind.SERVER_REGRESSED:
            return (
                f"Exchange server {state.server} is vulnerable again",
                f"{state.judgement.reason} Enforcement goes on where it stopped: {effect}.",
            )
        case NotificationKind.SERVER_MIXED:
            return (
                f"Several machines answer to the name {state.server}, or its builds swing",
                f"Build {state.build} is shown, which is not accepted, and so is {state.accepted_build}, which is. "
                f"While both come, an accepted build ends nothing: {effect}. Update every machine behind this name.",
            )
        case NotificationKind.STAGE_ENTERED:
            title = f"Exchange server {state.server} entered stage {state.displayed_stage}"
            return title, f"{state.judgement.reason} From now on {effect}."
        case NotificationKind.SERVER_RESOLVED:
            done = "is accepted again" if state.finding is Finding.COMPLIANT else "is not enforced any more"
            return (
                f"Exchange server {state.server} {done}",
                f"{state.judgement.reason} Its mail is neither throttled nor blocked.",
            )
        case NotificationKind.OVERRIDE_ENDED:
            return (
                f"Exchange server {state.server} is judged as the build that it shows again",
                "The override has expired, or a higher build was seen.",
            )
        case _:
            return (
                f"Exchange server {state.server} has not been seen for a while",
                "No connection of it arrives any more. A relay in front of a server hides it and does not fix it.",
            )


def _remedy_sentence(judged: Judgement) -> str:
    """The sentence that names the update to install."""
    if judged.remedy is None or not judged.finding.is_enforced:
        return ""
    return f" Install {judged.remedy.name}{f' ({judged.remedy.kb})' if judged.remedy.kb else ''}."


def _severity(kind: NotificationKind, action: Action, is_in_episode: bool) -> Severity:
    if kind is NotificationKind.SERVER_RESOLVED or not is_in_episode:
        return Severity.INFO
    return Severity.CRITICAL if action is Action.BLOCK else Severity.WARNING


def render_notification(
    state: ServerEnforcement,
    effective: EffectiveEnforcement,
    catalogue: Catalogue,
    service: Service,
    kind: NotificationKind,
    at: int,
    stage: ScheduledStage | None = None,
    days: int = 0,
) -> AdminNotification:
    """A notification about a server; `stage` and `days` say which stage comes in how many days."""
    judged = state.judgement
    following = effective.next_above(state.stage)
    throttle, block = effective.throttle_minutes_per_hour, effective.block_minutes_per_hour
    number, action, begins = state.displayed_stage, effective.action, following.starts_at if following else None
    detail = str(state.revision)
    if stage is None:
        title, text = _wording(state, effective, kind)
        if following is not None and kind is not NotificationKind.SERVER_RESOLVED:
            effect = _effect(following.throttle_minutes_per_hour, following.block_minutes_per_hour)
            text += f" From {iso(following.starts_at)} on {effect}."
    else:
        throttle, block = stage.throttle_minutes_per_hour, stage.block_minutes_per_hour
        number, begins = max(stage.stage, state.reached_stage), stage.starts_at
        action = Action.BLOCK if block else Action.THROTTLE if throttle else Action.ACCEPT
        comes = f"enters stage {number}" if stage.stage > state.reached_stage else "is enforced more strictly"
        title = f"Exchange server {state.server} {comes} in {days} day{'s' if days != 1 else ''}"
        text = f"{judged.reason} From {iso(begins)} on {_effect(throttle, block)}."
        detail = f"{number}/{days}" if stage.stage > state.reached_stage else f"{number}/{stage.stage}/{days}"
    text += _remedy_sentence(judged)
    return AdminNotification(
        notification_id=notification_id(kind, state.tenant_id, state.server, at, detail),
        kind=kind,
        severity=_severity(kind, action, state.is_in_episode),
        tenant_id=state.tenant_id,
        server=state.server,
        occurred_at=at,
        title=title,
        text=text,
        remedy=judged.remedy,
        link=service.link,
        stage=number,
        action=action,
        finding=judged.finding,
        build=state.build,
        required_build=judged.required_build,
        next_stage_at=begins,
        throttle_minutes_per_hour=throttle,
        block_minutes_per_hour=block,
        detected_at=state.detected_at,
        paused_until=effective.waived_until,
        policy_id=state.policy_id,
        policy_version=state.policy_version,
        cves=_cves(state, catalogue),
    )


def render_announcement(
    state: ServerEnforcement,
    judged: Judgement,
    policy: Policy,
    switch_at: int,
    catalogue: Catalogue,
    service: Service,
    at: int,
) -> AdminNotification:
    """The notice that a server, accepted now, falls below a policy or by a catalogue to come; `judged` says how."""
    kind = NotificationKind.POLICY_ANNOUNCED
    detail = f"{policy.policy_id}/{policy.version}/{switch_at}/{state.build}"
    rules, begins = f"policy {policy.policy_id} version {policy.version}", iso(switch_at)
    if round(policy.effective_at.timestamp() * 1000) == switch_at:
        text = f"P{rules[1:]} governs from {begins} on. {judged.reason}"
    else:
        text = f"A new catalogue of builds and vulnerabilities applies from {begins} on, under {rules}. {judged.reason}"
    return AdminNotification(
        notification_id=notification_id(kind, state.tenant_id, state.server, switch_at, detail),
        kind=kind,
        severity=Severity.WARNING,
        tenant_id=state.tenant_id,
        server=state.server,
        occurred_at=at,
        title=f"Exchange server {state.server} will not be accepted from {iso(switch_at)} on",
        text=text + _remedy_sentence(judged),
        remedy=judged.remedy,
        link=service.link,
        stage=state.stage,
        action=Action.ACCEPT,
        finding=judged.finding,
        build=state.build,
        required_build=judged.required_build,
        next_stage_at=switch_at,
        throttle_minutes_per_hour=0,
        block_minutes_per_hour=0,
        policy_id=policy.policy_id,
        policy_version=policy.version,
        cves=_cves(state, catalogue),
    )


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
    """The administrator's row that follows from a state and from what covers the server."""
    judged = state.judgement
    following = effective.next_above(state.stage)
    throttled = first_with(effective.upcoming, Action.THROTTLE)
    blocked = first_with(effective.upcoming, Action.BLOCK)
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
        cves=_cves(state, catalogue),
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
