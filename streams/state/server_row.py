"""States as bytes: one format byte, then what every connection changes, then what few do, as a JSON array.

An unknown format byte is refused: a worker older than the state must not guess.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import orjson

from streams.domain.exchange.build import Build, parse_build
from streams.domain.exchange.catalogue import Remedy
from streams.domain.exchange.detection import Identity
from streams.domain.exchange.evidence import Evidence
from streams.domain.policy.judgement import Finding, Judgement
from streams.domain.policy.ladder import Clock
from streams.domain.policy.policy import CONNECTORS, ConnectorType
from streams.domain.server.routine import routine_until
from streams.domain.server.stamps import Stamp, is_held_above
from streams.domain.server.state import Announced, ServerEnforcement, add_fingerprint
from streams.domain.tenant.override import Override
from streams.domain.tenant.quota import PaidDays, YearUse
from streams.domain.tenant.state import ExceptionGrant, Pause, TenantEnforcement
from streams.engine.ports import StoreError

STATE_FORMAT: Final = 4


_PLAIN = (
    *("tenant_id", "server", "first_seen_at", "policy_id", "policy_version", "stage", "reached_stage", "told_stage"),
    *("throttled_at", "blocked_at", "detected_at", "resolved_at", "revision"),
    *("refused_at", "accepted_at", "mixed_told_at", "changed_at"),
)
"""Fields that stand in the second part as they are, in this order; the others follow."""

_BEFORE_BUILD: Final = ">B11qBBBB"
_HOT = struct.Struct(_BEFORE_BUILD + "4iHHHB")
"""Format, moments and counts, flags, the two connector types, finding, build, lengths of connector id, IP and marks,
and how many stamps there are."""
_STAMP = struct.Struct(">q4iBB")
"""Moment, build, and the lengths of both addresses, which follow."""
_STAMP_MOMENT, _STAMP_REST = struct.Struct(">q"), struct.Struct(">4iBB")
"""The same in two parts: only the moment changes."""
_BUILD = struct.Struct(">4i")
_BUILD_AT: Final = struct.calcsize(_BEFORE_BUILD)
_NONE: Final = -1
_VANISHED, _REPORT_DUE, _VERDICT_DUE, _OVERRIDDEN, _GATEWAY, _HAS_BUILD, _MIXED = (1 << bit for bit in range(7))
_MOST_COUNTED: Final = 2**31 - 1
"""A server that has more connections keeps this count: what cannot be stored would end the worker."""
_ROW_MEMORY: Final = 700
"""Of a row as an object: its slots, its numbers, and the heads of its texts."""
_STAMP_MEMORY: Final = 450
"""Of a stamp, as a part of the row and of its state."""
_STATE_MEMORY: Final = 1_200
"""Of a decoded state, its texts aside."""

_FINDINGS: Final = {finding: number for number, finding in enumerate(Finding)}
"""Their order is part of the format."""


class StampRow:
    """A stamp as a row of the store holds it; only its moment changes."""

    __slots__ = ("build", "by_address", "fixed", "seen_at", "source_ip")

    def __init__(self, build: Build, seen_at: int, by_address: bytes, source_ip: bytes) -> None:
        self.build, self.seen_at, self.by_address, self.source_ip = build, seen_at, by_address, source_ip
        major, minor, line, update = _numbers_of(build)
        lengths = len(by_address), len(source_ip)
        self.fixed: bytes = _STAMP_REST.pack(major, minor, line, update, *lengths) + by_address + source_ip

    def stamp(self) -> Stamp:
        """The stamp."""
        return Stamp(self.build, self.seen_at, self.by_address.decode(), self.source_ip.decode())

    def encode(self) -> bytes:
        """The stamp's part of a row."""
        return _STAMP_MOMENT.pack(self.seen_at) + self.fixed


def _stamps_in(value: bytes, at: int, count: int) -> tuple[list[StampRow], int]:
    """The stamps that begin at `at`, and where they end."""
    rows = []
    for _ in range(count):
        found = _STAMP.unpack_from(value, at)
        build = _build_in(value[at + 8 : at + 8 + _BUILD.size])
        by_at = at + _STAMP.size
        ip_at = by_at + found[5]
        at = ip_at + found[6]
        rows.append(StampRow(build, found[0], value[by_at:ip_at], value[ip_at:at]))
    return rows, at


class ServerRow:
    """A server's state as a row of the store holds it; decoded only as far as it is needed.

    `routine_until` is what the rule of that name gives for it (UTC milliseconds).
    `indexed` is the moment under which the due index holds the server, -1 for none, `finding` the number of the finding
    that decided last, in their order, `is_changed` whether it differs from what the store or the unit's view holds.
    `cached_bytes` and `unit_bytes` are what it was counted with in the cache that holds it, and in the unit.
    """

    __slots__ = (
        "_cold",
        "_state",
        "accepted",
        "build",
        "cached_bytes",
        "clock_at",
        "connections",
        "connector",
        "connector_id",
        "deferred",
        "exchange_seen_at",
        "finding",
        "flags",
        "indexed",
        "is_changed",
        "judged_at",
        "judged_over",
        "last_seen_at",
        "marks",
        "rejected",
        "reported_at",
        "routine_until",
        "source_ip",
        "stamps",
        "unit_bytes",
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
        self.cached_bytes = self.unit_bytes = 0
        self.stamps: list[StampRow] = []
        if value is None:
            return
        _check_format(value)
        if len(value) < _HOT.size:
            raise StoreError(f"state {value[:60]!r}: corrupt: {len(value)} bytes")
        hot = _HOT.unpack_from(value)
        # By index: taking a tuple apart in slices costs three times as much.
        self.indexed, self.last_seen_at, self.judged_at, self.clock_at = hot[1], hot[2], hot[3], hot[4]
        self.reported_at, self.verdict_issued_at = hot[5], hot[6]
        self.exchange_seen_at = hot[7]
        self.connections, self.accepted, self.deferred, self.rejected = hot[8], hot[9], hot[10], hot[11]
        self.flags, self.connector, self.judged_over, self.finding = hot[12], hot[13], hot[14], hot[15]
        self.build = _build_in(value[_BUILD_AT : _BUILD_AT + _BUILD.size]) if self.flags & _HAS_BUILD else None
        at = _HOT.size
        self.connector_id = value[at : (at := at + hot[20])]
        self.source_ip = value[at : (at := at + hot[21])]
        self.marks = value[at : (at := at + hot[22])]
        self.stamps, at = _stamps_in(value, at, hot[23])
        self._cold = value[at:]
        self._recompute_routine_until()

    def _recompute_routine_until(self) -> None:
        flags = self.flags
        self.routine_until = routine_until(
            self.indexed,
            self.judged_at,
            self.reported_at,
            self.verdict_issued_at,
            flags & (_HAS_BUILD | _GATEWAY) != 0,
            flags & _VANISHED != 0,
            flags & _REPORT_DUE != 0,
            flags & _VERDICT_DUE != 0,
            flags & _OVERRIDDEN != 0,
            flags & _MIXED != 0,
        )

    def stamp_of(
        self, build: Build, by_address: bytes, source_ip: bytes, observed_at: int, holds_ms: int
    ) -> StampRow | None:
        """The stamp that a connection repeats, where the row's build is the one to believe; None where any may be."""
        stamps = self.stamps
        if len(stamps) == 1:
            only = stamps[0]
            repeats = only.source_ip == source_ip and only.by_address == by_address and only.build == build
            return only if repeats and build == self.build else None
        repeated: StampRow | None = None
        highest = build
        for stamp in stamps:
            if stamp.source_ip == source_ip and stamp.by_address == by_address and stamp.build == build:
                repeated = stamp
            elif is_held_above(
                stamp.build,
                stamp.seen_at,
                stamp.by_address,
                stamp.source_ip,
                highest,
                observed_at,
                by_address,
                source_ip,
                holds_ms,
            ):
                highest = stamp.build
        return repeated if highest == self.build else None

    def count(
        self,
        observed_at: int,
        outcome: int,
        mark: bytes,
        connector_id: bytes,
        source_ip: bytes,
        stamp: StampRow | None,
    ) -> None:
        """Count a routine connection of this `stamp`; `outcome` is its symbol's number, -1 for none."""
        self._count(outcome, mark)
        if stamp is not None:
            stamp.seen_at = self.exchange_seen_at = observed_at
        self.last_seen_at = self.judged_at = observed_at
        if observed_at > self.clock_at:
            self.clock_at = observed_at
        self.connector = self.judged_over
        self.connector_id = connector_id
        self.source_ip = source_ip

    def count_late(self, observed_at: int, outcome: int, mark: bytes, shows_build: bool) -> None:
        """Count a routine connection that comes after a later one."""
        self._count(outcome, mark)
        if shows_build and observed_at > self.exchange_seen_at:
            self.exchange_seen_at = observed_at

    def _count(self, outcome: int, mark: bytes) -> None:
        self.connections += 1
        if outcome == 0:
            self.accepted += 1
        elif outcome == 1:
            self.deferred += 1
        elif outcome == 2:
            self.rejected += 1
        self.marks = add_fingerprint(self.marks, mark)

    def to_state(self) -> ServerEnforcement:
        """The state; not to be changed in place."""
        state = self._state
        if state is None:
            state = self._state = _decode_cold(self._cold or b"")
        state.last_seen_at, state.judged_at, state.clock_at = self.last_seen_at, self.judged_at, self.clock_at
        state.reported_at, state.verdict_issued_at = self.reported_at, self.verdict_issued_at
        state.exchange_seen_at = self.exchange_seen_at
        state.build, state.recent_events = self.build, self.marks
        state.stamps = tuple([stamp.stamp() for stamp in self.stamps])
        state.connections, state.accepted = self.connections, self.accepted
        state.deferred, state.rejected = self.deferred, self.rejected
        state.connector_id, state.source_ip = self.connector_id.decode(), self.source_ip.decode()
        state.connector_type, state.judged_over = CONNECTORS[self.connector], CONNECTORS[self.judged_over]
        state.has_vanished = bool(self.flags & _VANISHED)
        state.is_report_due = bool(self.flags & _REPORT_DUE)
        state.is_verdict_due = bool(self.flags & _VERDICT_DUE)
        return state

    def from_state(self, state: ServerEnforcement, indexed: int | None) -> None:
        """Hold another state from now on."""
        self._state, self._cold = state, None
        self.finding = _FINDINGS[state.finding]
        self.indexed = _NONE if indexed is None else indexed
        self.last_seen_at, self.judged_at, self.clock_at = state.last_seen_at, state.judged_at, state.clock_at
        self.reported_at, self.verdict_issued_at = state.reported_at, state.verdict_issued_at
        self.exchange_seen_at = state.exchange_seen_at
        self.build, self.marks = state.build, state.recent_events
        self.stamps = [
            StampRow(stamp.build, stamp.seen_at, stamp.by_address.encode(), stamp.source_ip.encode())
            for stamp in state.stamps
        ]
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
            | _MIXED * state.is_mixed
        )
        self._recompute_routine_until()

    @property
    def size(self) -> int:
        """The bytes of the row's value."""
        size = _HOT.size + len(self.connector_id) + len(self.source_ip) + len(self.marks) + len(self._encoded_cold())
        for stamp in self.stamps:
            size += _STAMP_MOMENT.size + len(stamp.fixed)
        return size

    @property
    def memory_bytes(self) -> int:
        """What the row takes in memory at most, its key aside."""
        cold = self._encoded_cold()
        size = _ROW_MEMORY + len(cold) + len(self.connector_id) + len(self.source_ip) + len(self.marks)
        size += _STAMP_MEMORY * len(self.stamps)
        if self._state is not None:
            # A text that has one character beyond the first 65,536 takes four bytes for each of its characters, and
            # keeps its UTF-8 once it was asked for it.
            size += _STATE_MEMORY + (len(cold) if cold.isascii() else 5 * len(cold))
        return size

    def _encoded_cold(self) -> bytes:
        cold = self._cold
        if cold is None:
            assert self._state is not None
            cold = self._cold = _encode_cold(self._state)
        return cold

    def encode(self) -> bytes:
        """The row's value."""
        cold = self._encoded_cold()
        major, minor, line, update = (0, 0, 0, 0) if self.build is None else _numbers_of(self.build)
        head = _HOT.pack(
            STATE_FORMAT,
            self.indexed,
            self.last_seen_at,
            self.judged_at,
            self.clock_at,
            self.reported_at,
            self.verdict_issued_at,
            self.exchange_seen_at,
            min(self.connections, _MOST_COUNTED),
            min(self.accepted, _MOST_COUNTED),
            min(self.deferred, _MOST_COUNTED),
            min(self.rejected, _MOST_COUNTED),
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
            len(self.stamps),
        )
        stamps = b"".join([stamp.encode() for stamp in self.stamps])
        return head + self.connector_id + self.source_ip + self.marks + stamps + cold


def _numbers_of(build: Build) -> tuple[int, int, int, int]:
    return build.major, build.minor, build.line, _NONE if build.update is None else build.update


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
    return row.to_state(), None if row.indexed == _NONE else row.indexed


def encode_state(state: ServerEnforcement, indexed_due_at: int | None) -> bytes:
    """The row of a state, and the moment under which the due index holds it."""
    row = ServerRow()
    row.from_state(state, indexed_due_at)
    return row.encode()


def _encode_cold(state: ServerEnforcement) -> bytes:
    override = state.override
    written = orjson.dumps(
        [
            *_plain_of(state),
            state.identity,
            _judgement_list(state.judgement),
            state.evidence,
            state.clock,
            None if override is None else [str(override.build), override.ends_at],
            None if state.without_override is None else _judgement_list(state.without_override),
            state.announced,
            None if state.accepted_build is None else str(state.accepted_build),
            state.accepted_evidence,
        ],
        _list_of_tuple,
    )
    # What it gives keeps the memory that it was written into, four times what it needs.
    return bytes(memoryview(written))


_plain_of = attrgetter(*_PLAIN)


def _list_of_tuple(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not part of a state")


def _decode_cold(value: bytes) -> ServerEnforcement:
    content: list[Any] = _read(value)
    plain, rest = content[: len(_PLAIN)], content[len(_PLAIN) :]
    identity, judged, evidence, clock, override, without_override, announced, accepted_build, accepted_evidence = rest
    return ServerEnforcement(
        **dict(zip(_PLAIN, plain, strict=True)),
        identity=Identity(identity),
        judgement=_judgement(judged),
        evidence=None if evidence is None else Evidence(*evidence),
        clock=Clock(*clock),
        override=None if override is None else Override(parse_build(override[0]), override[1]),
        without_override=None if without_override is None else _judgement(without_override),
        announced=tuple(Announced(*known) for known in announced),
        accepted_build=None if accepted_build is None else parse_build(accepted_build),
        accepted_evidence=None if accepted_evidence is None else Evidence(*accepted_evidence),
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
    return bytes((STATE_FORMAT,)) + orjson.dumps(content)


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
        raise StoreError(f"state {value[:60]!r}: corrupt: {error}") from None


def _check_format(value: bytes) -> None:
    if value[0] != STATE_FORMAT:
        raise StoreError(f"state format {value[0]}: this version reads format {STATE_FORMAT} only")
