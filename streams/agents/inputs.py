"""Connections and commands of one partition: decode, decide, emit; and the due timers of its servers and tenants.

Rows in the state store: `s/<tenant>/<server>` the state, `t/<tenant>` what covers a tenant, `f/<tenant>/<server>` the
last revision of a forgotten server, `d/<due, 8 bytes big-endian>/<tenant>/<server>` the due index. The index may hold
an earlier moment than the state needs (moving it with every connection would cost more); such a row finds nothing due
and is put right. `p/policies` names the set of policies that the due index knows of, `p/progress` how far a new set has
been taken over.
"""

from __future__ import annotations

import heapq
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from streams.adapters.records import command_of, connection_of, to_record
from streams.adapters.state_codec import decode_state, decode_tenant, encode_state, encode_tenant
from streams.domain.commands import AdminCommand, AuditRecord, check_command
from streams.domain.connection import MINUTE_MS, InboundConnection, check_connection
from streams.domain.enforcement import Forgotten
from streams.domain.enforcer import TENANT, Enforcer
from streams.domain.notification import AdminNotification
from streams.domain.pauses import TenantEnforcement
from streams.domain.report import ServerReport
from streams.domain.rules import Rulebook
from streams.domain.state import ServerEnforcement
from streams.domain.verdict import Verdict
from streams.engine.ports import DependencyError, Output, Record
from streams.engine.processor import RecordProcessor
from streams.engine.view import View

_DUE = struct.Struct(">q")
_POLICIES, _PROGRESS = b"p/policies", b"p/progress"
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

    connections_topic: str
    connections: Codec
    commands: Codec
    verdicts_topic: str
    verdicts: Codec
    notifications_topic: str
    notifications: Codec
    servers_topic: str
    servers: Codec
    audit_topic: str
    audit: Codec


def wall_clock() -> int:
    """Now, UTC milliseconds."""
    return time.time_ns() // 1_000_000


class InputProcessor(RecordProcessor):
    """The processor of one partition.

    `replay_until` (UTC milliseconds) takes the place of the wall clock: time moves with the records, and to that
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
        self._taken_over: bytes | None = None
        self._decoded: tuple[Record, InboundConnection | AdminCommand | Exception] | None = None

    def moment_of(self, record: Record) -> int:
        """When the record happened; 0 for one that will be a dead letter."""
        found = self._read(record)
        match found:
            case InboundConnection():
                return found.observed_at
            case AdminCommand():
                return found.issued_at
            case _:
                return 0

    def _read(self, record: Record) -> InboundConnection | AdminCommand | Exception:
        if self._decoded is None or self._decoded[0] is not record:
            try:
                found: InboundConnection | AdminCommand | Exception = self._checked(record)
            except DependencyError:
                raise
            except Exception as error:
                found = error
            self._decoded = (record, found)
        return self._decoded[1]

    def _checked(self, record: Record) -> InboundConnection | AdminCommand:
        now = self._now() if self._replay_until is None else None
        if record.topic == self._wires.connections_topic:
            connection = connection_of(self._wires.connections.decode(record.value))
            check_connection(connection, record.key or b"", now)
            return connection
        command = command_of(self._wires.commands.decode(record.value))
        check_command(command, record.key or b"", now)
        return command

    def on_record(self, view: View, record: Record) -> None:
        """Process one connection or command.

        Raises:
            ValueError: it is malformed.
        """
        enforcer = Enforcer(_ViewRepository(view, self._wires, self._stream_time), self._rulebook())
        match self._read(record):
            case InboundConnection() as connection:
                enforcer.connection(connection)
                self._stream_time = max(self._stream_time, connection.observed_at)
            case AdminCommand() as command:
                enforcer.command(command)
                self._stream_time = max(self._stream_time, command.issued_at)
            case error:
                raise error

    def tick_moment(self, is_caught_up: bool) -> int | None:
        """The wall clock when nothing is left to read, the stream's time less some lateness during a backlog."""
        if self._replay_until is not None:
            return max(self._replay_until, self._stream_time) if is_caught_up else None
        if is_caught_up:
            return self._now()
        return self._stream_time - LATENESS_MS if self._stream_time else None

    def on_tick(self, view: View, moment: int, limit: int) -> bool:
        """Fire timers due at or before `moment`, in due order; True when some are left."""
        if self._take_over_policies(view, moment, limit):
            return True
        queue = [key for key, _ in view.scan(b"d/", b"d/" + _DUE.pack(moment + 1), limit)]
        has_more = len(queue) == limit
        last_due = _DUE.unpack_from(queue[-1], 2)[0] if has_more else moment
        repository = _ViewRepository(view, self._wires, moment)
        enforcer = Enforcer(repository, self._rulebook())
        while queue:
            row = heapq.heappop(queue)
            (due,) = _DUE.unpack_from(row, 2)
            view.put(row, None)
            tenant_id, _, server = row[11:].decode().partition("/")
            repository.now = due
            enforcer.tick(tenant_id, server, due)
            if repository.indexed is not None and repository.indexed <= last_due:
                heapq.heappush(queue, _due_row(repository.indexed, tenant_id, server))
        return has_more

    def _take_over_policies(self, view: View, moment: int, limit: int) -> bool:
        """Put the due moments right of servers that a new set of policies concerns; True when some are left."""
        rulebook = self._rulebook()
        wanted = rulebook.fingerprint.encode()
        if self._taken_over is None:
            self._taken_over = view.get(_POLICIES) or b""
        if self._taken_over == wanted:
            return False
        progress = view.get(_PROGRESS) or b""
        about, _, last = progress.partition(b"\n")
        start = last + b"\0" if about == wanted else b"s/"
        keys = [key for key, _ in view.scan(start, b"s0", limit)]
        repository = _ViewRepository(view, self._wires, moment)
        enforcer = Enforcer(repository, rulebook)
        for key in keys:
            tenant_id, _, server = key[2:].decode().partition("/")
            enforcer.tick(tenant_id, server, 0)
        if len(keys) == limit:
            view.put(_PROGRESS, wanted + b"\n" + keys[-1])
            return True
        view.put(_PROGRESS, None)
        view.put(_POLICIES, wanted)
        self._taken_over = wanted
        return False


class _ViewRepository:
    """States as rows of a view; `now` is the moment whose timers fire, `indexed` the due moment kept last."""

    def __init__(self, view: View, wires: Wires, now: int) -> None:
        self._view, self._wires, self.now = view, wires, now
        self.indexed: int | None = None
        self._indexed_of: dict[tuple[str, str], int | None] = {}

    def server(self, tenant_id: str, server: str) -> ServerEnforcement | None:
        """See `Repository`."""
        stored = self._view.get(f"s/{tenant_id}/{server}".encode())
        state, indexed = decode_state(stored) if stored else (None, None)
        self._indexed_of[tenant_id, server] = indexed
        return state

    def keep_server(self, tenant_id: str, server: str, state: ServerEnforcement | None, due_at: int | None) -> None:
        """See `Repository`."""
        self._index(tenant_id, server, due_at)
        value = encode_state(state, self.indexed) if state else None
        self._view.put(f"s/{tenant_id}/{server}".encode(), value)

    def forgotten_revision(self, tenant_id: str, server: str) -> int:
        """See `Repository`."""
        return int(self._view.get(f"f/{tenant_id}/{server}".encode()) or 0)

    def servers_of(self, tenant_id: str) -> Iterable[str]:
        """See `Repository`."""
        prefix = f"s/{tenant_id}/".encode()
        return [key[len(prefix) :].decode() for key in self._view.keys(prefix)]

    def tenant(self, tenant_id: str) -> TenantEnforcement | None:
        """See `Repository`."""
        stored = self._view.get(f"t/{tenant_id}".encode())
        tenant, indexed = decode_tenant(stored) if stored else (None, None)
        self._indexed_of[tenant_id, TENANT] = indexed
        return tenant

    def keep_tenant(self, tenant: TenantEnforcement, due_at: int | None) -> None:
        """See `Repository`."""
        self._index(tenant.tenant_id, TENANT, due_at)
        self._view.put(f"t/{tenant.tenant_id}".encode(), encode_tenant(tenant, self.indexed))

    def _index(self, tenant_id: str, server: str, due_at: int | None) -> None:
        indexed = self._indexed_of.get((tenant_id, server))
        # An earlier row stays until it comes up; that it does so now is the case of a tick at its moment.
        if indexed is not None and due_at is not None and self.now < indexed <= due_at:
            self.indexed = indexed
            return
        if indexed is not None:
            self._view.put(_due_row(indexed, tenant_id, server), None)
        if due_at is not None:
            self._view.put(_due_row(due_at, tenant_id, server), b"")
        self.indexed = due_at

    def emit(self, emitted: Verdict | AdminNotification | ServerReport | Forgotten | AuditRecord) -> None:
        """See `Repository`."""
        wires, view = self._wires, self._view
        match emitted:
            case Verdict():
                key = f"{emitted.tenant_id}/{emitted.server}".encode()
                view.emit(Output(wires.verdicts_topic, key, wires.verdicts.encode(to_record(emitted))))
            case AdminNotification():
                value = wires.notifications.encode(to_record(emitted))
                view.emit(Output(wires.notifications_topic, emitted.tenant_id.encode(), value))
            case ServerReport():
                key = f"{emitted.tenant_id}/{emitted.server}".encode()
                view.emit(Output(wires.servers_topic, key, wires.servers.encode(to_record(emitted))))
            case AuditRecord():
                value = wires.audit.encode(to_record(emitted))
                view.emit(Output(wires.audit_topic, emitted.tenant_id.encode(), value))
            case Forgotten():
                key = f"{emitted.tenant_id}/{emitted.server}".encode()
                view.emit(Output(wires.verdicts_topic, key, None))
                view.emit(Output(wires.servers_topic, key, None))
                view.put(b"f/" + key, b"%d" % emitted.revision)


def _due_row(due: int, tenant_id: str, server: str) -> bytes:
    return b"d/" + _DUE.pack(due) + b"/" + f"{tenant_id}/{server}".encode()
