"""The row that an administrator sees of one server."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import NamedTuple

from streams.domain.exchange.build import Build
from streams.domain.exchange.catalogue import Remedy
from streams.domain.exchange.detection import Identity
from streams.domain.exchange.evidence import Evidence
from streams.domain.keys import ServerKey
from streams.domain.policy.judgement import Finding
from streams.domain.policy.ladder import Action, ClockStop, ScheduledStage
from streams.domain.policy.policy import ConnectorType


class ServerStatus(StrEnum):
    """One word for where a server stands."""

    COMPLIANT = "COMPLIANT"
    REPORTED = "REPORTED"
    THROTTLED = "THROTTLED"
    BLOCKED = "BLOCKED"
    PAUSED = "PAUSED"
    EXEMPT = "EXEMPT"
    RESOLVED = "RESOLVED"
    UNDETERMINED = "UNDETERMINED"
    VANISHED = "VANISHED"
    NOT_EXCHANGE = "NOT_EXCHANGE"
    OUT_OF_SCOPE = "OUT_OF_SCOPE"
    MIXED = "MIXED"


class ServerReport(NamedTuple):
    """The report's row, named as the columns of Exchange Online's report; moments in UTC milliseconds."""

    tenant_id: str
    server: str
    server_fqdn: str | None
    identity: Identity
    build: Build | None
    build_name: str | None
    exchange_server: str | None
    finding: Finding
    would_be: Finding | None
    reason: str
    stage: int
    status: ServerStatus
    action: Action
    first_seen_at: int
    last_seen_at: int
    first_detected_date: int | None
    throttle_enabled_date: int | None
    blocking_enabled_date: int | None
    next_stage_start_date: int | None
    next_stage_throttle_rate: int | None
    next_stage_block_rate: int | None
    recommended_build_versions: tuple[Build, ...]
    remedy: Remedy | None
    cves: tuple[str, ...]
    support_ends_on: date | None
    resolved_at: int | None
    connections: int
    accepted: int
    deferred: int
    rejected: int
    connector_id: str
    connector_type: ConnectorType
    source_ip: str
    evidence: Evidence | None
    paused_until: int | None
    exempt_until: int | None
    override_build: Build | None
    override_until: int | None
    schedule: tuple[ScheduledStage, ...]
    verdict_revision: int
    policy_id: str
    policy_version: int
    reported_at: int
    judged_connector_type: ConnectorType
    judged_at: int
    clock_elapsed_ms: int
    clock_started_at: int | None
    reached_stage: int
    rated_stage: int
    standstills: tuple[ClockStop, ...]
    finding_without_override: Finding | None
    exchange_seen_at: int | None = None
    refused_at: int | None = None
    accepted_build: Build | None = None
    accepted_at: int | None = None
    accepted_evidence: Evidence | None = None

    @property
    def key(self) -> ServerKey:
        """The server that it is about."""
        return ServerKey(self.tenant_id, self.server)
