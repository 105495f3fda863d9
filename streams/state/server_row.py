"""A server's state as bytes: one format byte, then what every connection changes, then what few do."""

from __future__ import annotations

import struct
from typing import Final

from streams.domain.exchange.build import Build
from streams.domain.policy.judgement import Finding
from streams.domain.server.mixed import accepted_noted_at
from streams.domain.server.routine import routine_until
from streams.domain.server.state import MOST_COUNTED, ServerEnforcement, add_fingerprint
from streams.engine.ports import StoreError
from streams.state.orders import CONNECTOR_TYPES, FINDING_NUMBERS
from streams.state.row_format import STATE_FORMAT, check_format
from streams.state.server_details import decode_details, encode_details
from streams.state.stamp_row import StampRow, build_of, encode_stamp, numbers_of, read_stamps

_BEFORE_BUILD: Final = ">B11qBBBB"
_HEAD = struct.Struct(_BEFORE_BUILD + "4iHHHB")
"""Format, moments and counts, flags, the two connector types, finding, build, lengths of connector id, IP and marks,
and how many stamps there are."""
_COUNTED = struct.Struct(">10q")
"""Of these, what a counted connection may change: moments and counts, as `_HEAD` has them from `last_seen_at` on."""
_ROUTINE = struct.Struct(">q8xq8x2q")
"""Of these, what `routine_until` is made of: indexed, judged, reported, verdict issued."""
_MOMENT = struct.Struct(">q")
_LENGTHS = struct.Struct(">HHHB")
_LENGTH = struct.Struct(">H")
_NOTES = struct.Struct(">2q")
"""What is noted of a mixed server: when its other build, and when its accepted one was shown last; -1 for never."""
_INDEXED_AT: Final = 1
_COUNTED_AT: Final = 9
_FLAGS_AT: Final = 89
_CONNECTOR_AT, _JUDGED_OVER_AT, _FINDING_AT = 90, 91, 92
_BUILD_AT: Final = 93
_LENGTHS_AT: Final = 109
_MARKS_LENGTH_AT: Final = 113
_TEXTS_AT: Final = 116
_NONE: Final = -1
_VANISHED, _REPORT_DUE, _VERDICT_DUE, _OVERRIDDEN, _GATEWAY, _HAS_BUILD, _MIXED = (1 << bit for bit in range(7))
_ROW_MEMORY: Final = 420
"""Of a row as an object, its value aside."""
_STAMP_MEMORY: Final = 250
"""Of a stamp of a decoded state."""
_STATE_MEMORY: Final = 1_600
"""Of a decoded state, its texts aside."""
KEPT: Final = STATE_FORMAT
CHANGED: Final = 0x80 | STATE_FORMAT
"""What the first byte of a row in memory says: the store or the unit's view holds the same, or it differs from that."""


class ServerRow:
    """A server's state as a row of the store holds it; decoded only as far as it is needed.

    `packed` is the row's value, but for its first byte: `KEPT` or `CHANGED`. `routine_until` is what the rule of
    that name gives for it (UTC milliseconds). `cached_bytes` and `unit_bytes` are what it was counted with in the cache
    that holds it, and in the unit.
    """

    __slots__ = (
        "_has_new_details",
        "_notes",
        "_state",
        "_taken",
        "cached_bytes",
        "packed",
        "routine_until",
        "unit_bytes",
    )

    def __init__(self, value: bytes | None = None) -> None:
        """Read a row; without one, hold a state by `from_state`.

        Raises:
            StoreError: the format is unknown; the worker must stop, not guess.
        """
        self._state: ServerEnforcement | None = None
        self._has_new_details = False
        self._notes = bytearray()
        self._taken = b""
        self.cached_bytes = self.unit_bytes = 0
        self.packed = bytearray()
        self.routine_until = 0
        if value is None:
            return
        check_format(value)
        if len(value) < _HEAD.size:
            raise StoreError(f"state {value[:60]!r}: corrupt: {len(value)} bytes")
        self.packed = bytearray(value)
        self._recompute_routine_until()

    def _recompute_routine_until(self) -> None:
        indexed, judged_at, reported_at, issued_at = _ROUTINE.unpack_from(self.packed, _INDEXED_AT)
        flags = self.packed[_FLAGS_AT]
        self.routine_until = routine_until(
            indexed,
            judged_at,
            reported_at,
            issued_at,
            flags & (_HAS_BUILD | _GATEWAY) != 0,
            flags & _VANISHED != 0,
            flags & _VERDICT_DUE != 0,
            flags & _OVERRIDDEN != 0,
        )

    # --- what is read of it ---

    @property
    def indexed(self) -> int:
        """The moment under which the due index holds the server, -1 for none."""
        return self._moment(_INDEXED_AT)

    @property
    def last_seen_at(self) -> int:
        """The latest connection."""
        return self._moment(9)

    @property
    def judged_at(self) -> int:
        """The moment of the last decision."""
        return self._moment(17)

    @property
    def clock_at(self) -> int:
        """Up to when its time has passed."""
        return self._moment(25)

    @property
    def reported_at(self) -> int:
        """The moment of the last report."""
        return self._moment(33)

    def _moment(self, at: int) -> int:
        moment: int = _MOMENT.unpack_from(self.packed, at)[0]
        return moment

    @property
    def judged_over(self) -> int:
        """The number of the connector type of the connection that was judged last."""
        return self.packed[_JUDGED_OVER_AT]

    @property
    def finding(self) -> int:
        """The number of the finding that decided last."""
        return self.packed[_FINDING_AT]

    @property
    def build(self) -> Build | None:
        """The build that is believed."""
        if not self.packed[_FLAGS_AT] & _HAS_BUILD:
            return None
        return build_of(bytes(self.packed[_BUILD_AT:_LENGTHS_AT]))

    @property
    def is_mixed(self) -> bool:
        """Whether accepted builds and others are shown in turns."""
        return self.packed[_FLAGS_AT] & _MIXED != 0

    @property
    def is_report_due(self) -> bool:
        """Whether a report is to come of what was counted since the last one."""
        return self.packed[_FLAGS_AT] & _REPORT_DUE != 0

    @property
    def source_ip(self) -> bytes:
        """The address of the latest connection."""
        lengths = self._lengths()
        at = _TEXTS_AT + lengths[0]
        return bytes(self.packed[at : at + lengths[1]])

    @property
    def marks(self) -> bytes:
        """The fingerprints of the recent connections."""
        lengths = self._lengths()
        at = _TEXTS_AT + lengths[0] + lengths[1]
        return bytes(self.packed[at : at + lengths[2]])

    def stamps(self) -> list[StampRow]:
        """The stamps of its machines; good until the row changes."""
        return self._stamps()[0]

    def _stamps(self) -> tuple[list[StampRow], int]:
        lengths = self._lengths()
        return read_stamps(self.packed, _TEXTS_AT + lengths[0] + lengths[1] + lengths[2], lengths[3])

    def _lengths(self) -> tuple[int, int, int, int]:
        lengths: tuple[int, int, int, int] = _LENGTHS.unpack_from(self.packed, _LENGTHS_AT)
        return lengths

    # --- connections that are only counted ---

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
        packed = self.packed
        _, judged_at, clock_at, reported_at, issued_at, exchange_seen_at, *counts = self._counted()
        if stamp is not None:
            _MOMENT.pack_into(packed, stamp.at, observed_at)
            exchange_seen_at = observed_at
        if is_judged:
            judged_at = observed_at
        moments = observed_at, judged_at, max(clock_at, observed_at), reported_at, issued_at, exchange_seen_at
        _COUNTED.pack_into(packed, _COUNTED_AT, *moments, *_add_outcome(counts, outcome, refused_before))
        packed[_CONNECTOR_AT] = packed[_JUDGED_OVER_AT]
        lengths = self._lengths()
        packed[_TEXTS_AT : _TEXTS_AT + lengths[0] + lengths[1]] = connector_id + source_ip
        _LENGTHS.pack_into(packed, _LENGTHS_AT, len(connector_id), len(source_ip), lengths[2], lengths[3])
        self._add_mark(mark)

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
        packed = self.packed
        seen_at, judged_at, clock_at, reported_at, issued_at, exchange_seen_at, *counts = self._counted()
        if shows_build and observed_at > exchange_seen_at:
            exchange_seen_at = observed_at
        if stamp is not None and observed_at > stamp.seen_at:
            _MOMENT.pack_into(packed, stamp.at, observed_at)
        if is_judged:
            judged_at = observed_at
        moments = seen_at, judged_at, clock_at, reported_at, issued_at, exchange_seen_at
        _COUNTED.pack_into(packed, _COUNTED_AT, *moments, *_add_outcome(counts, outcome, refused_before))
        self._add_mark(mark)

    def _counted(self) -> tuple[int, ...]:
        return _COUNTED.unpack_from(self.packed, _COUNTED_AT)

    def _add_mark(self, mark: bytes) -> None:
        lengths = self._lengths()
        at = _TEXTS_AT + lengths[0] + lengths[1]
        end = at + lengths[2]
        marks = add_fingerprint(bytes(self.packed[at:end]), mark)
        self.packed[at:end] = marks
        _LENGTH.pack_into(self.packed, _MARKS_LENGTH_AT, len(marks))

    def make_report_due(self, indexed: int) -> None:
        """A report is to come, and the due index holds the server under this moment (UTC milliseconds)."""
        _MOMENT.pack_into(self.packed, _INDEXED_AT, indexed)
        self.packed[_FLAGS_AT] |= _REPORT_DUE

    # --- what is noted of a mixed server ---

    def notes(self) -> bytearray:
        """When its other build and when its accepted one was shown last, as `_NOTES`; what is set there is kept.

        Empty for a server that is not mixed.
        """
        if not self._notes and self.is_mixed:
            state = self.details()
            noted = state.refused_at, accepted_noted_at(state)
            self._taken = _NOTES.pack(*[_NONE if at is None else at for at in noted])
            self._notes = bytearray(self._taken)
        return self._notes

    def note_accepted(self, observed_at: int) -> None:
        """The accepted build of a mixed server was shown once more."""
        _MOMENT.pack_into(self.notes(), _MOMENT.size, observed_at)

    def note_refused(self, observed_at: int) -> None:
        """The build of a mixed server that is not accepted was shown once more."""
        _MOMENT.pack_into(self.notes(), 0, observed_at)

    def _take_notes(self, state: ServerEnforcement) -> None:
        noted = bytes(self._notes)
        if noted != self._taken:
            before, (refused_at, accepted_at) = _NOTES.unpack(self._taken), _NOTES.unpack(noted)
            if refused_at != before[0]:
                state.refused_at = refused_at
            if accepted_at != before[1]:
                state.accepted_at = accepted_at
            self._taken, self._has_new_details = noted, True

    # --- the state ---

    @property
    def is_decoded(self) -> bool:
        """Whether the row holds its state beside its bytes."""
        return self._state is not None

    def details(self) -> ServerEnforcement:
        """The state, of which only what stands in the second part of the row is sure to be right."""
        if self._state is None:
            self._state = decode_details(bytes(self.packed[self._stamps()[1] :]))
        if self._notes:
            self._take_notes(self._state)
        return self._state

    def forget_details(self) -> None:
        """Hold no more than the bytes."""
        self._encode_details()
        self._state = None

    def to_state(self) -> ServerEnforcement:
        """The state; not to be changed in place."""
        state = self.details()
        head = _HEAD.unpack_from(self.packed)
        state.last_seen_at, state.judged_at, state.clock_at = head[2], head[3], head[4]
        state.reported_at, state.verdict_issued_at, state.exchange_seen_at = head[5], head[6], head[7]
        state.connections, state.accepted, state.deferred, state.rejected = head[8], head[9], head[10], head[11]
        state.connector_type, state.judged_over = CONNECTOR_TYPES[head[13]], CONNECTOR_TYPES[head[14]]
        state.build = self.build
        marks_at = _TEXTS_AT + head[20] + head[21]
        state.connector_id = self.packed[_TEXTS_AT : _TEXTS_AT + head[20]].decode()
        state.source_ip = self.packed[_TEXTS_AT + head[20] : marks_at].decode()
        state.recent_events = bytes(self.packed[marks_at : marks_at + head[22]])
        state.stamps = tuple([stamp.stamp() for stamp in self.stamps()])
        flags = head[12]
        state.has_vanished = bool(flags & _VANISHED)
        state.is_report_due = bool(flags & _REPORT_DUE)
        state.is_verdict_due = bool(flags & _VERDICT_DUE)
        return state

    def from_state(self, state: ServerEnforcement, indexed: int | None) -> None:
        """Hold another state from now on."""
        self._state, self._has_new_details = state, False
        self._notes = bytearray()
        connector_id, source_ip = state.connector_id.encode(), state.source_ip.encode()
        major, minor, line, update = (0, 0, 0, 0) if state.build is None else numbers_of(state.build)
        flags = (
            _VANISHED * state.has_vanished
            | _REPORT_DUE * state.is_report_due
            | _VERDICT_DUE * state.is_verdict_due
            | _OVERRIDDEN * (state.override is not None)
            | _GATEWAY * (state.build is None and state.finding is Finding.NOT_EXCHANGE)
            | _HAS_BUILD * (state.build is not None)
            | _MIXED * state.is_mixed
        )
        head = _HEAD.pack(
            KEPT,
            _NONE if indexed is None else indexed,
            state.last_seen_at,
            state.judged_at,
            state.clock_at,
            state.reported_at,
            state.verdict_issued_at,
            state.exchange_seen_at,
            min(state.connections, MOST_COUNTED),
            min(state.accepted, MOST_COUNTED),
            min(state.deferred, MOST_COUNTED),
            min(state.rejected, MOST_COUNTED),
            flags,
            CONNECTOR_TYPES.index(state.connector_type),
            CONNECTOR_TYPES.index(state.judged_over),
            FINDING_NUMBERS[state.finding],
            major,
            minor,
            line,
            update,
            len(connector_id),
            len(source_ip),
            len(state.recent_events),
            len(state.stamps),
        )
        stamps = b"".join([encode_stamp(stamp) for stamp in state.stamps])
        details = encode_details(state)
        self.packed = bytearray(head + connector_id + source_ip + state.recent_events + stamps + details)
        self._recompute_routine_until()

    # --- its place in the cache ---

    @property
    def is_changed(self) -> bool:
        """Whether it differs from what the store or the unit's view holds."""
        return self.packed[0] == CHANGED

    def stand(self, place: int) -> None:
        """Be `KEPT` or `CHANGED` from now on."""
        self.packed[0] = place

    def empty(self) -> None:
        """Hold nothing any more: it is no longer the row of its server, whoever still has it."""
        self.packed.clear()
        self._state = None

    @property
    def size(self) -> int:
        """The bytes of the row's value, but for what was noted since it was encoded."""
        return len(self.packed)

    @property
    def memory_bytes(self) -> int:
        """What the row takes in memory at most, its key aside."""
        self._encode_details()
        packed = self.packed
        size = _ROW_MEMORY + len(packed)
        if self._state is not None:
            # A text that has one character beyond the first 65,536 takes four bytes for each of its characters, and
            # keeps its UTF-8 once it was asked for it.
            stamps, at = self._stamps()
            details = packed[at:]
            size += _STATE_MEMORY + at + _STAMP_MEMORY * len(stamps)
            size += len(details) if details.isascii() else 5 * len(details)
        return size

    def _encode_details(self) -> None:
        is_decoded = self.is_decoded
        if self._notes and self._notes != self._taken:
            self.details()
        if self._has_new_details:
            assert self._state is not None
            self.packed[self._stamps()[1] :] = encode_details(self._state)
            self._has_new_details = False
        if not is_decoded:
            self._state = None  # the cache counts what is decoded, and does not know of this

    def encode(self) -> bytes:
        """The row's value."""
        self._encode_details()
        value = bytes(self.packed)
        return value if value[0] == STATE_FORMAT else _FORMAT + value[1:]


_FORMAT: Final = bytes([STATE_FORMAT])


def _add_outcome(counts: list[int], outcome: int, refused_before: int) -> tuple[int, int, int, int]:
    connections, accepted, deferred, rejected = counts
    connections = min(connections + 1 + refused_before, MOST_COUNTED)
    if outcome == 0:
        accepted = min(accepted + 1, MOST_COUNTED)
    elif outcome == 1:
        deferred = min(deferred + 1, MOST_COUNTED)
    elif outcome == 2:
        refused_before += 1
    return connections, accepted, deferred, min(rejected + refused_before, MOST_COUNTED)


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
