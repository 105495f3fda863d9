"""The verdict: what the edge must do about one server, now and at every stage to come."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from streams.domain.build import Build
from streams.domain.catalogue import Remedy
from streams.domain.headers import Identity
from streams.domain.judgement import Finding
from streams.domain.ladder import Action, ScheduledStage, hour_offset, minute_action
from streams.domain.rules import Service
from streams.domain.state import Evidence

NAMESPACE = uuid.UUID("6f7d1a52-5d0b-5c62-9a54-0d6a6b2f4c11")
"""Namespace of every UUIDv5 that this product makes."""
MAX_REPLY_BYTES = 510
"""RFC 5321, 4.5.3.1.5: a reply line has 512 octets with its CRLF."""


def verdict_id(tenant_id: str, server: str, revision: int) -> str:
    """The id of a server's verdict: the same input always gives the same one."""
    return str(uuid.uuid5(NAMESPACE, f"verdict/{tenant_id}/{server}/{revision}"))


def iso(moment: int) -> str:
    """A moment (UTC milliseconds) as ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(moment // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment % 1000:03d}Z"


class Verdict(NamedTuple):
    """A verdict; moments in UTC milliseconds, rates in minutes of each hour, `schedule` holds the stages to come."""

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
    evidence: Evidence | None
    policy_id: str
    policy_version: int
    issued_at: int
    resolved_at: int | None
    is_mixed: bool = False


def action_at(verdict: Verdict, moment: int) -> Action:
    """What the edge does with a connection of this server at `moment` (UTC milliseconds).

    The schedule inside the verdict counts, so the next stage begins on time without a new verdict.
    """
    if verdict.paused_until is not None and moment < verdict.paused_until:
        return Action.ACCEPT
    throttle, block = verdict.throttle_minutes_per_hour, verdict.block_minutes_per_hour
    for stage in verdict.schedule:
        if stage.starts_at <= moment:
            throttle, block = stage.throttle_minutes_per_hour, stage.block_minutes_per_hour
    return minute_action(hour_offset(verdict.tenant_id, verdict.server), throttle, block, moment)


def smtp_reply(
    action: Action,
    minutes: int,
    service: Service,
    server: str,
    build: Build | None,
    required: Build | None,
    next_stage: ScheduledStage | None,
) -> str | None:
    """The edge's reply line for `action`, cut to what SMTP allows; None where `minutes` is 0.

    The code and the first sentence are those of Exchange Online (`450 4.7.230`, `550 5.7.230`).
    """
    if not minutes:
        return None
    code, done = ("550 5.7.230", "blocked") if action is Action.BLOCK else ("450 4.7.230", "throttled")
    first = (
        f"{code} Connecting Exchange server version is out-of-date; "
        f"connection to {service.name} {done} for {minutes} mins/hr."
    )
    facts = f"{server} runs {build or 'an unknown build'}"
    facts += f", {required} or newer is required." if required else ", which is no longer accepted."
    if next_stage is not None:
        facts += f" Next stage {iso(next_stage.starts_at)}."
    # The server's name is the sender's claim: nothing but printable ASCII may reach the line.
    return f"{first} {_printable(facts, MAX_REPLY_BYTES - len(first) - len(service.link) - 2)} {service.link}"


def _printable(text: str, limit: int) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:limit]


def first_with(schedule: Sequence[ScheduledStage], action: Action) -> ScheduledStage | None:
    """The first of what is to come that throttles or blocks; one that is over at its own moment does neither."""
    for index, stage in enumerate(schedule):
        rate = stage.block_minutes_per_hour if action is Action.BLOCK else stage.throttle_minutes_per_hour
        lasts = index + 1 == len(schedule) or schedule[index + 1].starts_at > stage.starts_at
        if rate and lasts:
            return stage
    return None
