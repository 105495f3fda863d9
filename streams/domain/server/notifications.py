"""Renders the notifications about a server: what has happened to it, what comes, and a switch of policy ahead."""

from __future__ import annotations

from streams.domain.exchange.catalogue import Catalogue
from streams.domain.outputs.notification import AdminNotification, NotificationKind, Severity, notification_id
from streams.domain.policy.judgement import Judgement
from streams.domain.policy.ladder import Action, ScheduledStage, strongest
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import Service
from streams.domain.server.effective import EffectiveEnforcement
from streams.domain.server.render import known_cves
from streams.domain.server.state import ServerEnforcement
from streams.domain.server.wording import effect_sentence, remedy_sentence, wording
from streams.domain.time import iso, moment_ms


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
    """A notification about a server.

    Args:
        state: the server's state after the event.
        effective: what applies to it at `at`.
        catalogue: names builds and their vulnerabilities.
        service: the receiving service, for its link.
        kind: what happened.
        at: the time that caused it, UTC milliseconds.
        stage: the stage that is announced; None for a notification about the present.
        days: in how many days that stage begins.
    """
    judged = state.judgement
    following = effective.next_above(state.stage)
    throttle, block = effective.throttle_minutes_per_hour, effective.block_minutes_per_hour
    number, action, begins = state.displayed_stage, effective.action, following.starts_at if following else None
    detail = str(state.revision)
    if stage is None:
        title, text = wording(state, effective, kind)
        if following is not None and kind is not NotificationKind.SERVER_RESOLVED:
            effect = effect_sentence(following.throttle_minutes_per_hour, following.block_minutes_per_hour)
            text += f" From {iso(following.starts_at)} on {effect}."
    else:
        throttle, block = stage.throttle_minutes_per_hour, stage.block_minutes_per_hour
        number, begins = max(stage.stage, state.reached_stage), stage.starts_at
        action = strongest(throttle, block)
        comes = f"enters stage {number}" if stage.stage > state.reached_stage else "is enforced more strictly"
        title = f"Exchange server {state.server} {comes} in {days} day{'s' if days != 1 else ''}"
        text = f"{judged.reason} From {iso(begins)} on {effect_sentence(throttle, block)}."
        detail = f"{number}/{days}" if stage.stage > state.reached_stage else f"{number}/{stage.stage}/{days}"
    text += remedy_sentence(judged)
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
        cves=known_cves(state, catalogue),
        evidence=state.evidence,
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
    if moment_ms(policy.effective_at) == switch_at:
        text = f"P{rules[1:]} takes effect at {begins}. {judged.reason}"
    else:
        text = f"A new catalogue of builds and vulnerabilities takes effect at {begins}, under {rules}. {judged.reason}"
    return AdminNotification(
        notification_id=notification_id(kind, state.tenant_id, state.server, switch_at, detail),
        kind=kind,
        severity=Severity.WARNING,
        tenant_id=state.tenant_id,
        server=state.server,
        occurred_at=at,
        title=f"Exchange server {state.server} will no longer be accepted from {iso(switch_at)} on",
        text=text + remedy_sentence(judged),
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
        cves=known_cves(state, catalogue),
        evidence=state.evidence,
    )
