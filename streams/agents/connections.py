"""Connections of one partition: decode, decide, emit; and the due timers of its servers.

Rows in the state store: `s/<tenant>/<server>` the state, `f/<tenant>/<server>` the last revision of a forgotten
server, `d/<due, 8 bytes big-endian>/<tenant>/<server>` the due index. The index may hold an earlier moment than the
state needs (moving it with every connection would cost more); such a row finds nothing due and is put right.
"""

from __future__ import annotations

import heapq
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from streams.adapters.records import connection_of, to_record
from streams.adapters.state_codec import decode_state, encode_state
from streams.domain.connection import MINUTE_MS, check_connection
from streams.domain.enforcement import Forgotten, Sighting, decide, sight
from streams.domain.notification import AdminNotification
from streams.domain.report import ServerReport
from streams.domain.rules import Rulebook
from streams.domain.verdict import Verdict
from streams.engine.ports import Output, Record, View

_DUE = struct.Struct(">q")
LATENESS_MS = 5 * MINUTE_MS
"""While a partition has a backlog, its clock stays this far behind its stream time."""


class Codec(Protocol):
    """Records to bytes and back."""

    def encode(self, record: dict[str, Any]) -> bytes:
        """The value of a record."""

    def decode(self, value: bytes | None) -> dict[str, Any]:
        """The record of a value."""


@dataclass(frozen=True, slots=True)
class Wires:
    """Topics and codecs of what is read and written."""

    connections: Codec
    verdicts_topic: str
    verdicts: Codec
    notifications_topic: str
    notifications: Codec
    servers_topic: str
    servers: Codec


def wall_clock() -> int:
    """Now, UTC milliseconds."""
    return time.time_ns() // 1_000_000


class ConnectionProcessor:
    """The processor of one partition.

    `replay_until` (UTC milliseconds) takes the place of the wall clock: time moves with the connections, and to that
    moment when the partition is at its end.
    """

    def __init__(
        self,
        rulebook: Callable[[], Rulebook],
        wires: Wires,
        replay_until: int | None = None,
        now: Callable[[], int] = wall_clock,
    ) -> None:
        self._rulebook, self._wires = rulebook, wires
        self._replay_until, self._now = replay_until, now
        self._stream_time = 0

    def on_record(self, view: View, record: Record) -> None:
        """Process one connection.

        Raises:
            ValueError: it is malformed.
        """
        connection = connection_of(self._wires.connections.decode(record.value))
        check_connection(connection, record.key or b"", self._now() if self._replay_until is None else None)
        event = sight(connection)
        self._decide(view, connection.tenant_id, event.server, event, connection.observed_at)
        self._stream_time = max(self._stream_time, connection.observed_at)

    def tick_moment(self, is_caught_up: bool) -> int | None:
        """The wall clock when nothing is left to read, the stream's time less some lateness during a backlog."""
        if self._replay_until is not None:
            return max(self._replay_until, self._stream_time) if is_caught_up else None
        if is_caught_up:
            return self._now()
        return self._stream_time - LATENESS_MS if self._stream_time else None

    def on_tick(self, view: View, moment: int, limit: int) -> bool:
        """Fire timers due at or before `moment`, in due order; True when some are left."""
        rows = view.store.scan(b"d/", b"d/" + _DUE.pack(moment + 1))
        queue = [key for key, _ in zip((key for key, _ in rows), range(limit), strict=False)]
        has_more = len(queue) == limit
        last_due = _DUE.unpack_from(queue[-1], 2)[0] if has_more else moment
        while queue:
            row = heapq.heappop(queue)
            (due,) = _DUE.unpack_from(row, 2)
            view.put(row, None)
            tenant_id, _, server = row[11:].decode().partition("/")
            next_due = self._decide(view, tenant_id, server, None, due)
            if next_due is not None and next_due <= last_due:
                heapq.heappush(queue, _due_row(next_due, tenant_id, server))
        return has_more

    def _decide(self, view: View, tenant_id: str, server: str, event: Sighting | None, now: int) -> int | None:
        key = f"{tenant_id}/{server}".encode()
        stored = view.get(b"s/" + key)
        state, indexed = decode_state(stored) if stored else (None, None)
        revision = 0 if stored else int(view.get(b"f/" + key) or 0)
        decision = decide(state, event, self._rulebook(), now, revision)
        for emitted in decision.emitted:
            self._emit(view, key, emitted)
        due = decision.due_at
        # An earlier row stays until it comes up; that it does so now is the case of a tick at its moment.
        keeps = decision.state is not None and indexed is not None and due is not None and now < indexed <= due
        if not keeps:
            if indexed is not None:
                view.put(_due_row(indexed, tenant_id, server), None)
            if due is not None:
                view.put(_due_row(due, tenant_id, server), b"")
        kept = indexed if keeps else due
        view.put(b"s/" + key, encode_state(decision.state, kept) if decision.state else None)
        return kept

    def _emit(self, view: View, key: bytes, emitted: Verdict | AdminNotification | ServerReport | Forgotten) -> None:
        wires = self._wires
        match emitted:
            case Verdict():
                view.emit(Output(wires.verdicts_topic, key, wires.verdicts.encode(to_record(emitted))))
            case AdminNotification():
                value = wires.notifications.encode(to_record(emitted))
                view.emit(Output(wires.notifications_topic, emitted.tenant_id.encode(), value))
            case ServerReport():
                view.emit(Output(wires.servers_topic, key, wires.servers.encode(to_record(emitted))))
            case Forgotten():
                view.emit(Output(wires.verdicts_topic, key, None))
                view.emit(Output(wires.servers_topic, key, None))
                view.put(b"f/" + key, b"%d" % emitted.revision)


def _due_row(due: int, tenant_id: str, server: str) -> bytes:
    return b"d/" + _DUE.pack(due) + b"/" + f"{tenant_id}/{server}".encode()
