"""What is remembered of one server of one tenant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple
from zlib import crc32

from streams.domain.exchange.build import Build
from streams.domain.exchange.detection import Identity, is_exchange_online
from streams.domain.exchange.evidence import Evidence
from streams.domain.keys import ServerKey
from streams.domain.policy.judgement import Finding, Judgement
from streams.domain.policy.ladder import Clock
from streams.domain.policy.policy import ConnectorType
from streams.domain.server.stamps import Stamp
from streams.domain.tenant.override import Override
from streams.domain.time import DAY_MS

NO_TIME = Clock(0, 0)

RECENT_EVENTS: Final = 32
"""How many connections are remembered per server; a duplicate within so many is not counted again.

Eight bytes each, so 256 bytes of every server's row.
"""
MOST_COUNTED: Final = 2**31 - 1
"""A server that has more connections keeps this count: what cannot be stored would end the worker."""
_MARK_BYTES: Final = 8
_MARKS_BYTES: Final = RECENT_EVENTS * _MARK_BYTES
_HALF: Final = 2**32 - 1
_LOW_BITS: Final = 2**10 - 1
_CRC_MASK: Final = 2**22 - 1


def fingerprint(observed_at: int, event_id: bytes) -> bytes:
    """What tells a connection from others of the same server: its moment, and 22 bits of its id."""
    low = (observed_at & _LOW_BITS) << 22 | crc32(event_id) & _CRC_MASK
    return (observed_at >> 10 & _HALF).to_bytes(4, "big") + low.to_bytes(4, "big")


def add_fingerprint(marks: bytes, mark: bytes) -> bytes:
    """The marks of recent connections with one more, the oldest forgotten."""
    return (marks + mark)[-_MARKS_BYTES:]


def seen_recently(marks: bytes, mark: bytes) -> bool:
    """Whether a connection is among the recent ones."""
    at = marks.find(mark)
    while at % _MARK_BYTES and at > 0:
        at = marks.find(mark, at + 1)
    return at >= 0


class Announced(NamedTuple):
    """A switch of policy (UTC milliseconds) that was looked at ahead, and whether the administrators were told."""

    switch_at: int
    is_told: bool


@dataclass(slots=True)
class ServerEnforcement:
    """The state of one server; all moments in UTC milliseconds.

    `stage` is the stage whose rates apply, 0 outside of an episode. `clock` holds the enforcement time of the present
    or the last episode and `reached_stage` how far that one came, so that a regression goes on where it stopped; the
    two differ only where another ladder brings later dates. `told_stage` is the highest stage of the episode that the
    administrators were told of: a policy that does not enforce enters stages without a word.

    `judged_at` is the moment of whatever decided `build`, `judgement` or the episode last; `clock_at` the moment up to
    which timers have fired. `without_override` is the judgement that an override stands in for. `is_verdict_due` says
    that the last verdict does not show the present build or reason, which came at `changed_at`.

    `stamps` are the builds that its machines showed lately, `exchange_seen_at` is the last connection that was not a
    gateway's. `refused_at` is None unless the server is mixed; then it is the last moment of a build that is not
    accepted, and `accepted_build`, with its evidence and its last moment, what was shown beside it. `mixed_told_at` is
    when its administrators were told last that it is mixed.
    """

    tenant_id: str
    server: str
    identity: Identity
    connector_id: str
    connector_type: ConnectorType
    source_ip: str
    first_seen_at: int
    last_seen_at: int
    clock_at: int
    judged_at: int
    judgement: Judgement
    judged_over: ConnectorType
    policy_id: str
    policy_version: int
    build: Build | None = None
    evidence: Evidence | None = None
    connections: int = 0
    accepted: int = 0
    deferred: int = 0
    rejected: int = 0
    recent_events: bytes = b""
    stage: int = 0
    reached_stage: int = 0
    told_stage: int = 0
    throttled_at: int | None = None
    blocked_at: int | None = None
    detected_at: int | None = None
    clock: Clock = NO_TIME
    resolved_at: int | None = None
    has_vanished: bool = False
    revision: int = 0
    verdict_issued_at: int = 0
    reported_at: int = 0
    is_report_due: bool = False
    is_verdict_due: bool = False
    changed_at: int = 0
    override: Override | None = None
    without_override: Judgement | None = None
    announced: tuple[Announced, ...] = ()
    stamps: tuple[Stamp, ...] = ()
    exchange_seen_at: int = 0
    refused_at: int | None = None
    accepted_build: Build | None = None
    accepted_evidence: Evidence | None = None
    accepted_at: int | None = None
    mixed_told_at: int | None = None

    def copy(self) -> ServerEnforcement:
        """A state that may be changed without changing this one."""
        # Not by the initializer, which is interpreted in a compiled class too and takes several times as long.
        copied: ServerEnforcement = ServerEnforcement.__new__(ServerEnforcement)
        copied.tenant_id, copied.server, copied.identity = self.tenant_id, self.server, self.identity
        copied.connector_id, copied.connector_type = self.connector_id, self.connector_type
        copied.source_ip = self.source_ip
        copied.first_seen_at, copied.last_seen_at = self.first_seen_at, self.last_seen_at
        copied.clock_at, copied.judged_at = self.clock_at, self.judged_at
        copied.judgement, copied.judged_over = self.judgement, self.judged_over
        copied.policy_id, copied.policy_version = self.policy_id, self.policy_version
        copied.build, copied.evidence = self.build, self.evidence
        copied.connections, copied.accepted = self.connections, self.accepted
        copied.deferred, copied.rejected = self.deferred, self.rejected
        copied.recent_events = self.recent_events
        copied.stage, copied.reached_stage, copied.told_stage = self.stage, self.reached_stage, self.told_stage
        copied.throttled_at, copied.blocked_at = self.throttled_at, self.blocked_at
        copied.detected_at, copied.clock, copied.resolved_at = self.detected_at, self.clock, self.resolved_at
        copied.has_vanished, copied.revision = self.has_vanished, self.revision
        copied.verdict_issued_at, copied.reported_at = self.verdict_issued_at, self.reported_at
        copied.is_report_due, copied.is_verdict_due = self.is_report_due, self.is_verdict_due
        copied.changed_at = self.changed_at
        copied.override, copied.without_override = self.override, self.without_override
        copied.announced, copied.stamps = self.announced, self.stamps
        copied.exchange_seen_at, copied.refused_at = self.exchange_seen_at, self.refused_at
        copied.accepted_build, copied.accepted_evidence = self.accepted_build, self.accepted_evidence
        copied.accepted_at, copied.mixed_told_at = self.accepted_at, self.mixed_told_at
        return copied

    @property
    def key(self) -> ServerKey:
        """The server that it is of."""
        return ServerKey(self.tenant_id, self.server)

    @property
    def finding(self) -> Finding:
        """The finding of the event that decided last."""
        return self.judgement.finding

    @property
    def is_in_episode(self) -> bool:
        """Whether the ladder applies now."""
        return self.stage > 0

    @property
    def verdict_due_at(self) -> int:
        """When a verdict may say that the server shows another build: not for every turn that builds take."""
        return max(self.verdict_issued_at, self.changed_at) + DAY_MS

    @property
    def is_mixed(self) -> bool:
        """Whether accepted builds and others are shown in turns."""
        return self.refused_at is not None

    @property
    def displayed_stage(self) -> int:
        """The stage that is shown: never less than before in the same episode; 0 outside of one."""
        return self.reached_stage if self.stage else 0

    @property
    def judged_build(self) -> Build | None:
        """The build that the server is judged as; None where there is none, and of Exchange Online before 15.20."""
        if self.override is not None:
            return self.override.build
        return None if is_exchange_online(self.server, self.build) else self.build
