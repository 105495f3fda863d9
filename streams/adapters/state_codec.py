"""States as bytes: one format byte, then what every connection changes, then what few do, as a JSON array.

An unknown format byte is refused: a worker older than the state must not guess.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import orjson

from streams.domain.build import Build, parse_build
from streams.domain.catalogue import Remedy
from streams.domain.connection import DAY_MS, HOUR_MS
from streams.domain.headers import Identity
from streams.domain.judgement import Finding, Judgement
from streams.domain.ladder import Clock
from streams.domain.pauses import ExceptionGrant, Pause, TenantEnforcement
from streams.domain.policy import CONNECTORS, ConnectorType
from streams.domain.quota import PaidDays, YearUse
from streams.domain.state import Announced, Evidence, Override, ServerEnforcement, with_mark
from streams.engine.ports import StoreError

FORMAT: Final = 3


_PLAIN = (
    *("tenant_id", "server", "first_seen_at", "policy_id", "policy_version", "stage", "reached_stage"),
    *("throttled_at", "blocked_at", "detected_at", "resolved_at", "revision"),
)
"""Fields that stand in the second part as they are, in this order; the others follow."""

_BEFORE_BUILD: Final = ">B10qBBBB"
_HOT = struct.Struct(_BEFORE_BUILD + "4iHHH")
"""Format, moments and counts, flags, the two connector types, finding, build, lengths of connector id, IP and marks."""
_BUILD = struct.Struct(">4i")
_BUILD_AT: Final = struct.calcsize(_BEFORE_BUILD)
_NONE: Final = -1
_VANISHED, _REPORT_DUE, _VERDICT_DUE, _OVERRIDDEN, _GATEWAY, _HAS_BUILD = (1 << bit for bit in range(6))


_FINDINGS: Final = {finding: number for number, finding in enumerate(Finding)}
"""Their order is part of the format."""


class ServerRow:
    """A server's state as a row of the store holds it; decoded only as far as it is needed.

    Most connections change nothing but what is counted. `quiet_until` (UTC milliseconds) is the moment before which a
    connection with the same build, over the same connector, later than all seen, is such a one; 0 where any may decide.
    `indexed` is the moment under which the due index holds the server, -1 for none, `finding` the number of the finding
    that decided last, in their order, `is_changed` whether it differs from what the store or the unit's view holds.
    """

    __slots__ = (
        "_cold",
        "_state",
        "accepted",
        "build",
        "clock_at",
        "connections",
        "connector",
        "connector_id",
        "deferred",
        "finding",
        "flags",
        "indexed",
        "is_changed",
        "judged_at",
        "judged_over",
        "last_seen_at",
        "marks",
        "quiet_until",
        "rejected",
        "reported_at",
        "source_ip",
        "verdict_issued_at",
    )

    def __init__(self, value: bytes | None = None) -> None:
        """Read a row; without one, `take` a state.

        Raises:
            StoreError: the format is unknown; the worker must stop, not guess.
        """
        self._state: ServerEnforcement | None = None
        self._cold: bytes | None = None
        self.is_changed = False
        if value is None:
            return
        _check_format(value)
        if len(value) < _HOT.size:
            raise StoreError(f"state {value[:60]!r}: damaged: {len(value)} bytes")
        hot = _HOT.unpack_from(value)
        # By index: taking a tuple apart in slices costs three times as much.
        self.indexed, self.last_seen_at, self.judged_at, self.clock_at = hot[1], hot[2], hot[3], hot[4]
        self.reported_at, self.verdict_issued_at = hot[5], hot[6]
        self.connections, self.accepted, self.deferred, self.rejected = hot[7], hot[8], hot[9], hot[10]
        self.flags, self.connector, self.judged_over, self.finding = hot[11], hot[12], hot[13], hot[14]
        self.build = _build_in(value[_BUILD_AT : _BUILD_AT + _BUILD.size]) if self.flags & _HAS_BUILD else None
        at = _HOT.size
        self.connector_id = value[at : (at := at + hot[19])]
        self.source_ip = value[at : (at := at + hot[20])]
        self.marks = value[at : (at := at + hot[21])]
        self._cold = value[at:]
        self._settle()

    def _settle(self) -> None:
        """Work out until when connections are quiet."""
        self.quiet_until = 0
        flags = self.flags
        # Only after the first one since the last row is a connection counted without anything becoming due.
        if flags & (_HAS_BUILD | _GATEWAY) and flags & (_VANISHED | _REPORT_DUE | _OVERRIDDEN) == _REPORT_DUE:
            # A judgement may differ from day to day.
            end_of_day = (self.judged_at // DAY_MS + 1) * DAY_MS
            # No verdict is later than the row that was written with it.
            told_at = self.verdict_issued_at if flags & _VERDICT_DUE else self.reported_at
            self.quiet_until = min(self.indexed, end_of_day, told_at + HOUR_MS)

    def count(self, observed_at: int, outcome: int, mark: bytes, connector_id: bytes, source_ip: bytes) -> None:
        """Take a quiet connection into account; `outcome` is its symbol's number, -1 for none."""
        self.count_late(outcome, mark)
        self.last_seen_at = self.judged_at = observed_at
        if observed_at > self.clock_at:
            self.clock_at = observed_at
        self.connector = self.judged_over
        self.connector_id = connector_id
        self.source_ip = source_ip

    def count_late(self, outcome: int, mark: bytes) -> None:
        """Take a quiet connection into account that comes after a later one."""
        self.connections += 1
        if outcome == 0:
            self.accepted += 1
        elif outcome == 1:
            self.deferred += 1
        elif outcome == 2:
            self.rejected += 1
        self.marks = with_mark(self.marks, mark)

    def state(self) -> ServerEnforcement:
        """The state; not to be changed in place."""
        state = self._state
        if state is None:
            state = self._state = _decode_cold(self._cold or b"")
        state.last_seen_at, state.judged_at, state.clock_at = self.last_seen_at, self.judged_at, self.clock_at
        state.reported_at, state.verdict_issued_at = self.reported_at, self.verdict_issued_at
        state.build, state.recent_events = self.build, self.marks
        state.connections, state.accepted = self.connections, self.accepted
        state.deferred, state.rejected = self.deferred, self.rejected
        state.connector_id, state.source_ip = self.connector_id.decode(), self.source_ip.decode()
        state.connector_type, state.judged_over = CONNECTORS[self.connector], CONNECTORS[self.judged_over]
        state.has_vanished = bool(self.flags & _VANISHED)
        state.is_report_due = bool(self.flags & _REPORT_DUE)
        state.is_verdict_due = bool(self.flags & _VERDICT_DUE)
        return state

    def take(self, state: ServerEnforcement, indexed: int | None) -> None:
        """Hold another state from now on."""
        self._state, self._cold = state, None
        self.finding = _FINDINGS[state.finding]
        self.indexed = _NONE if indexed is None else indexed
        self.last_seen_at, self.judged_at, self.clock_at = state.last_seen_at, state.judged_at, state.clock_at
        self.reported_at, self.verdict_issued_at = state.reported_at, state.verdict_issued_at
        self.build, self.marks = state.build, state.recent_events
        self.connections, self.accepted = state.connections, state.accepted
        self.deferred, self.rejected = state.deferred, state.rejected
        self.connector_id, self.source_ip = state.connector_id.encode(), state.source_ip.encode()
        self.connector, self.judged_over = CONNECTORS.index(state.connector_type), CONNECTORS.index(state.judged_over)
        self.flags = (
            _VANISHED * state.has_vanished
            | _REPORT_DUE * state.is_report_due
            | _VERDICT_DUE * state.is_verdict_due
            | _OVERRIDDEN * (state.override is not None)
            | _GATEWAY * (state.build is None and state.finding is Finding.NOT_EXCHANGE)
            | _HAS_BUILD * (state.build is not None)
        )
        self._settle()

    def to_bytes(self) -> bytes:
        """The row's value."""
        if self._cold is None:
            assert self._state is not None
            self._cold = _encode_cold(self._state)
        build = self.build
        major = minor = line = update = 0
        if build is not None:
            major, minor, line = build.major, build.minor, build.line
            update = _NONE if build.update is None else build.update
        head = _HOT.pack(
            FORMAT,
            self.indexed,
            self.last_seen_at,
            self.judged_at,
            self.clock_at,
            self.reported_at,
            self.verdict_issued_at,
            self.connections,
            self.accepted,
            self.deferred,
            self.rejected,
            self.flags,
            self.connector,
            self.judged_over,
            self.finding,
            major,
            minor,
            line,
            update,
            len(self.connector_id),
            len(self.source_ip),
            len(self.marks),
        )
        return head + self.connector_id + self.source_ip + self.marks + self._cold


@lru_cache(1024)  # many servers have the same
def _build_in(value: bytes) -> Build:
    major, minor, line, update = _BUILD.unpack(value)
    return Build(major, minor, line, None if update == _NONE else update)


def decode_state(value: bytes) -> tuple[ServerEnforcement, int | None]:
    """The state in a row and its indexed due moment.

    Raises:
        StoreError: the format is unknown.
    """
    row = ServerRow(value)
    return row.state(), None if row.indexed == _NONE else row.indexed


def encode_state(state: ServerEnforcement, indexed_due_at: int | None) -> bytes:
    """The row of a state, and the moment under which the due index holds it."""
    row = ServerRow()
    row.take(state, indexed_due_at)
    return row.to_bytes()


def _encode_cold(state: ServerEnforcement) -> bytes:
    override = state.override
    return orjson.dumps(
        [
            *_plain_of(state),
            state.identity,
            _judgement_list(state.judgement),
            state.evidence,
            state.clock,
            None if override is None else [str(override.build), override.ends_at],
            None if state.without_override is None else _judgement_list(state.without_override),
            state.announced,
        ],
        _list_of_tuple,
    )


_plain_of = attrgetter(*_PLAIN)


def _list_of_tuple(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no part of a state")


def _decode_cold(value: bytes) -> ServerEnforcement:
    content: list[Any] = _read(value)
    plain, rest = content[: len(_PLAIN)], content[len(_PLAIN) :]
    identity, judged, evidence, clock, override, without_override, announced = rest
    return ServerEnforcement(
        **dict(zip(_PLAIN, plain, strict=True)),
        identity=Identity(identity),
        judgement=_judgement(judged),
        evidence=None if evidence is None else Evidence(*evidence),
        clock=Clock(*clock),
        override=None if override is None else Override(parse_build(override[0]), override[1]),
        without_override=None if without_override is None else _judgement(without_override),
        announced=tuple(Announced(*known) for known in announced),
        # The rest stands in the first part of the row.
        last_seen_at=0,
        clock_at=0,
        judged_at=0,
        connector_id="",
        source_ip="",
        connector_type=ConnectorType.NONE,
        judged_over=ConnectorType.NONE,
    )


def _judgement_list(judged: Judgement) -> list[Any]:
    required = judged.required_build
    return [
        judged.finding,
        judged.reason,
        None if required is None else str(required),
        judged.remedy,
        judged.cves,
        judged.would_be,
    ]


def _judgement(content: list[Any]) -> Judgement:
    finding, reason, required, remedy, cves, would_be = content
    return Judgement(
        Finding(finding),
        reason,
        None if required is None else parse_build(required),
        None if remedy is None else Remedy(*remedy),
        tuple(cves),
        None if would_be is None else Finding(would_be),
    )


def encode_tenant(tenant: TenantEnforcement, indexed_due_at: int | None) -> bytes:
    """A tenant's state, and the moment under which the due index holds it."""
    content = {
        "tenant_id": tenant.tenant_id,
        "clock_at": tenant.clock_at,
        "pauses": _pause_rows(tenant.pauses),
        "server_pauses": {server: _pause_rows(pauses) for server, pauses in tenant.server_pauses.items()},
        "exceptions": {server: [list(row) for row in rows] for server, rows in tenant.exceptions.items()},
        "seen_commands": tenant.seen_commands,
        "used": [[year, *use] for year, use in tenant.used.items()],
        "indexed_due_at": indexed_due_at,
    }
    return bytes((FORMAT,)) + orjson.dumps(content)


def decode_tenant(value: bytes) -> tuple[TenantEnforcement, int | None]:
    """A tenant's state and its indexed due moment.

    Raises:
        StoreError: the format is unknown; the worker must stop, not guess.
    """
    _check_format(value)
    content = _read(value[1:])
    indexed_due_at: int | None = content["indexed_due_at"]
    return TenantEnforcement(
        tenant_id=content["tenant_id"],
        clock_at=content["clock_at"],
        pauses=_pauses(content["pauses"]),
        server_pauses={server: _pauses(rows) for server, rows in content["server_pauses"].items()},
        exceptions={
            server: tuple(ExceptionGrant(*row) for row in rows) for server, rows in content["exceptions"].items()
        },
        seen_commands=tuple(content["seen_commands"]),
        used={year: YearUse(days, time_ms) for year, days, time_ms in content["used"]},
    ), indexed_due_at


def _pause_rows(pauses: tuple[Pause, ...]) -> list[list[Any]]:
    return [[pause.starts_at, pause.ends_at, [list(days) for days in pause.paid]] for pause in pauses]


def _pauses(rows: list[Any]) -> tuple[Pause, ...]:
    return tuple(
        Pause(starts_at, ends_at, tuple(PaidDays(*days) for days in paid)) for starts_at, ends_at, paid in rows
    )


def _read(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise StoreError(f"state {value[:60]!r}: damaged: {error}") from None


def _check_format(value: bytes) -> None:
    if value[0] != FORMAT:
        raise StoreError(f"state format {value[0]}: this version reads format {FORMAT} only")
