"""The verdict: what the edge must do about one server, now and at every stage to come."""

from __future__ import annotations

from typing import NamedTuple

from streams.domain.exchange.build import Build
from streams.domain.exchange.catalogue import Remedy
from streams.domain.exchange.detection import Identity
from streams.domain.exchange.evidence import Evidence
from streams.domain.ids import stable_id
from streams.domain.keys import ServerKey
from streams.domain.policy.judgement import Finding
from streams.domain.policy.ladder import Action, ScheduledStage


def verdict_id(key: ServerKey, revision: int) -> str:
    """The id of a server's verdict: the same input always produces the same one."""
    return stable_id(f"verdict/{key.tenant_id}/{key.server}/{revision}")


class Verdict(NamedTuple):
    """A verdict; moments in UTC milliseconds, rates in minutes of each hour, `schedule` holds the stages to come.

    `smtp_reply_*` are the lines of the stage in force at `effective_at`, `smtp_template_*` those of every stage: see
    `edge.reply_at`. `cves` are all vulnerabilities that the build is known to have, whatever the policy asks for.
    """

    verdict_id: str
    revision: int
    tenant_id: str
    server: str
    identity: Identity
    action: Action
    stage: int
    throttle_minutes_per_hour: int
    block_minutes_per_hour: int
    finding: Finding
    reason: str
    build: Build | None
    required_build: Build | None
    remedy: Remedy | None
    cves: tuple[str, ...]
    detected_at: int | None
    effective_at: int
    schedule: tuple[ScheduledStage, ...]
    paused_until: int | None
    smtp_reply_throttle: str | None
    smtp_reply_block: str | None
    smtp_template_throttle: str | None
    smtp_template_block: str | None
    evidence: Evidence | None
    policy_id: str
    policy_version: int
    issued_at: int
    resolved_at: int | None
    is_mixed: bool = False

    @property
    def key(self) -> ServerKey:
        """The server that it is about."""
        return ServerKey(self.tenant_id, self.server)
