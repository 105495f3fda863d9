"""Notifications to administrators, one per occurrence."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from streams.domain.exchange.build import Build
from streams.domain.exchange.catalogue import Remedy
from streams.domain.exchange.evidence import Evidence
from streams.domain.ids import stable_id
from streams.domain.policy.judgement import Finding
from streams.domain.policy.ladder import Action


class NotificationKind(StrEnum):
    """What happened, or will."""

    SERVER_DETECTED = "SERVER_DETECTED"
    STAGE_UPCOMING = "STAGE_UPCOMING"
    STAGE_ENTERED = "STAGE_ENTERED"
    SERVER_RESOLVED = "SERVER_RESOLVED"
    SERVER_REGRESSED = "SERVER_REGRESSED"
    SERVER_MIXED = "SERVER_MIXED"
    SERVER_VANISHED = "SERVER_VANISHED"
    POLICY_ANNOUNCED = "POLICY_ANNOUNCED"
    PAUSE_STARTED = "PAUSE_STARTED"
    PAUSE_EXTENDED = "PAUSE_EXTENDED"
    PAUSE_CANCELLED = "PAUSE_CANCELLED"
    PAUSE_ENDING = "PAUSE_ENDING"
    PAUSE_ENDED = "PAUSE_ENDED"
    COMMAND_REFUSED = "COMMAND_REFUSED"
    EXCEPTION_GRANTED = "EXCEPTION_GRANTED"
    EXCEPTION_REVOKED = "EXCEPTION_REVOKED"
    EXCEPTION_EXPIRED = "EXCEPTION_EXPIRED"
    OVERRIDE_APPLIED = "OVERRIDE_APPLIED"
    OVERRIDE_ENDED = "OVERRIDE_ENDED"


class Severity(StrEnum):
    """How urgent it is."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class AdminNotification(NamedTuple):
    """A notification with its facts as fields; moments in UTC milliseconds, rates in minutes of each hour."""

    notification_id: str
    kind: NotificationKind
    severity: Severity
    tenant_id: str
    server: str | None
    occurred_at: int
    title: str
    text: str
    remedy: Remedy | None = None
    link: str | None = None
    stage: int | None = None
    action: Action | None = None
    finding: Finding | None = None
    build: Build | None = None
    required_build: Build | None = None
    next_stage_at: int | None = None
    throttle_minutes_per_hour: int | None = None
    block_minutes_per_hour: int | None = None
    detected_at: int | None = None
    paused_until: int | None = None
    quota_left_days: int | None = None
    command_id: str | None = None
    policy_id: str | None = None
    policy_version: int | None = None
    cves: tuple[str, ...] = ()
    evidence: Evidence | None = None


def notification_id(kind: NotificationKind, tenant_id: str, server: str | None, occurred_at: int, detail: str) -> str:
    """The id of one occurrence; `detail` tells apart what may happen to one server at one moment."""
    return stable_id(f"notification/{kind.value}/{tenant_id}/{server or ''}/{occurred_at}/{detail}")
