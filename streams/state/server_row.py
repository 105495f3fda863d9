"""A server's state as bytes: one format byte, then what every connection changes, then what few do."""

from __future__ import annotations

import struct
from typing import Final

from streams.domain.policy.judgement import Finding
from streams.domain.server.routine import routine_until
from streams.domain.server.state import MOST_COUNTED, ServerEnforcement, add_fingerprint
from streams.engine.ports import StoreError
from streams.state.orders import CONNECTOR_TYPES, FINDING_NUMBERS
from streams.state.row_format import STATE_FORMAT, check_format
from streams.state.server_details import decode_details, encode_details
from streams.state.stamp_row import BUILD, STAMP_MOMENT, StampRow, build_of, numbers_of, read_stamps

_BEFORE_BUILD: Final = ">B11qBBBB"
_HOT = struct.Struct(_BEFORE_BUILD + "4iHHHB")
"""Format, moments and counts, flags, the two connector types, finding, build, lengths of connector id, IP and marks,
and how many stamps there are."""
_BUILD_AT: Final = struct.calcsize(_BEFORE_BUILD)
_NONE: Final = -1
_VANISHED, _REPORT_DUE, _VERDICT_DUE, _OVERRIDDEN, _GATEWAY, _HAS_BUILD, _MIXED = (1 << bit for bit in range(7))
_ROW_MEMORY: Final = 700
"""Of a row as an object: its slots, its numbers, and the heads of its texts."""
_STAMP_MEMORY: Final = 450
"""Of a stamp, as a part of the row and of its state."""
_STATE_MEMORY: Final = 1_200
"""Of a decoded state, its texts aside."""


class ServerRow:
    """A server's state as a row of the store holds it; decoded only as far as it is needed.

    `routine_until` is what the rule of that name gives for it (UTC milliseconds).
    `indexed` is the moment under which the due index holds the server, -1 for none, `finding` the number of the finding
    that decided last, `is_changed` whether it differs from what the store or the unit's view holds.
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
        """Read a row; without one, hold a state by `from_state`.

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
        check_format(value)
        if len(value) < _HOT.size:
            raise StoreError(f"state {value[:60]!r}: corrupt: {len(value)} bytes")
        hot = _HOT.unpack_from(value)
        # By index: taking a tuple apart in slices costs three times as much.
        self.indexed, self.last_seen_at, self.judged_at, self.clock_at = hot[1], hot[2], hot[3], hot[4]
        self.reported_at, self.verdict_issued_at = hot[5], hot[6]
        self.exchange_seen_at = hot[7]
        self.connections, self.accepted, self.deferred, self.rejected = hot[8], hot[9], hot[10], hot[11]
        self.flags, self.connector, self.judged_over, self.finding = hot[12], hot[13], hot[14], hot[15]
        self.build = build_of(value[_BUILD_AT : _BUILD_AT + BUILD.size]) if self.flags & _HAS_BUILD else None
        at = _HOT.size
        self.connector_id = value[at : (at := at + hot[20])]
        self.source_ip = value[at : (at := at + hot[21])]
        self.marks = value[at : (at := at + hot[22])]
        self.stamps, at = read_stamps(value, at, hot[23])
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
        )

    def count(
        self,
        observed_at: int,
        outcome: int,
        mark: bytes,
        connector_id: bytes,
        source_ip: bytes,
        stamp: StampRow | None,
        refused_before: int,
        is_judged: bool,
    ) -> None:
        """Count a routine connection of this `stamp`; `outcome` is its symbol's number, -1 for none."""
        self._count(outcome, mark, refused_before)
        if stamp is not None:
            stamp.seen_at = self.exchange_seen_at = observed_at
        self.last_seen_at = observed_at
        if is_judged:
            self.judged_at = observed_at
        if observed_at > self.clock_at:
            self.clock_at = observed_at
        self.connector = self.judged_over
        self.connector_id = connector_id
        self.source_ip = source_ip

    def count_late(
        self,
        observed_at: int,
        outcome: int,
        mark: bytes,
        shows_build: bool,
        stamp: StampRow | None,
        refused_before: int,
        is_judged: bool,
    ) -> None:
        """Count a routine connection that comes after a later one."""
        self._count(outcome, mark, refused_before)
        if shows_build and observed_at > self.exchange_seen_at:
            self.exchange_seen_at = observed_at
        if stamp is not None and observed_at > stamp.seen_at:
            stamp.seen_at = observed_at
        if is_judged:
            self.judged_at = observed_at

    @property
    def is_mixed(self) -> bool:
        """Whether accepted builds and others are shown in turns."""
        return bool(self.flags & _MIXED)

    @property
    def is_decoded(self) -> bool:
        """Whether the row holds its state, beside its bytes or in place of them."""
        return self._state is not None

    def details(self) -> ServerEnforcement:
        """The state, of which only what stands in the second part of the row is sure to be right."""
        if self._state is None:
            self._state = decode_details(self._cold or b"")
        return self._state

    def note_accepted(self, observed_at: int) -> None:
        """The accepted build of a mixed server was shown once more."""
        self.details().accepted_at = observed_at
        self._cold = None

    def note_refused(self, observed_at: int) -> None:
        """The build of a mixed server that is not accepted was shown once more."""
        self.details().refused_at = observed_at
        self._cold = None

    def _count(self, outcome: int, mark: bytes, refused_before: int) -> None:
        self.connections = min(self.connections + 1 + refused_before, MOST_COUNTED)
        if outcome == 0:
            self.accepted += 1
        elif outcome == 1:
            self.deferred += 1
        elif outcome == 2:
            refused_before += 1
        if refused_before:
            self.rejected = min(self.rejected + refused_before, MOST_COUNTED)
        self.marks = add_fingerprint(self.marks, mark)

    def to_state(self) -> ServerEnforcement:
        """The state; not to be changed in place."""
        state = self.details()
        state.last_seen_at, state.judged_at, state.clock_at = self.last_seen_at, self.judged_at, self.clock_at
        state.reported_at, state.verdict_issued_at = self.reported_at, self.verdict_issued_at
        state.exchange_seen_at = self.exchange_seen_at
        state.build, state.recent_events = self.build, self.marks
        state.stamps = tuple([stamp.stamp() for stamp in self.stamps])
        state.connections, state.accepted = self.connections, self.accepted
        state.deferred, state.rejected = self.deferred, self.rejected
        state.connector_id, state.source_ip = self.connector_id.decode(), self.source_ip.decode()
        state.connector_type, state.judged_over = CONNECTOR_TYPES[self.connector], CONNECTOR_TYPES[self.judged_over]
        state.has_vanished = bool(self.flags & _VANISHED)
        state.is_report_due = bool(self.flags & _REPORT_DUE)
        state.is_verdict_due = bool(self.flags & _VERDICT_DUE)
        return state

    def from_state(self, state: ServerEnforcement, indexed: int | None) -> None:
        """Hold another state from now on."""
        self._state, self._cold = state, None
        self.finding = FINDING_NUMBERS[state.finding]
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
        self.connector, self.judged_over = (
            CONNECTOR_TYPES.index(state.connector_type),
            CONNECTOR_TYPES.index(state.judged_over),
        )
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
            size += STAMP_MOMENT.size + len(stamp.fixed)
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
            cold = self._cold = encode_details(self._state)
        return cold

    def encode(self) -> bytes:
        """The row's value."""
        cold = self._encoded_cold()
        major, minor, line, update = (0, 0, 0, 0) if self.build is None else numbers_of(self.build)
        head = _HOT.pack(
            STATE_FORMAT,
            self.indexed,
            self.last_seen_at,
            self.judged_at,
            self.clock_at,
            self.reported_at,
            self.verdict_issued_at,
            self.exchange_seen_at,
            min(self.connections, MOST_COUNTED),
            min(self.accepted, MOST_COUNTED),
            min(self.deferred, MOST_COUNTED),
            min(self.rejected, MOST_COUNTED),
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
