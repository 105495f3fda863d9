"""States of servers and tenants as rows of the store, servers kept in memory between units of work.

`s/<tenant>/<server>` holds a server, `t/<tenant>` what covers a tenant, `f/<tenant>/<server>` the last revision of a
forgotten server, `d/<due, 8 bytes big-endian>/<tenant>/<server>` the due index. The index may hold an earlier moment
than the state needs (moving it with every connection would cost more); such a row finds nothing due and is put right.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from streams.adapters.records import to_record
from streams.adapters.state_codec import ServerRow, decode_tenant, encode_tenant
from streams.agents.due_timers import DueTimers
from streams.agents.tally import Tally
from streams.domain.commands import AuditRecord
from streams.domain.enforcement import Forgotten
from streams.domain.enforcer import TENANT
from streams.domain.judgement import Finding
from streams.domain.notification import AdminNotification
from streams.domain.pauses import TenantEnforcement
from streams.domain.report import ServerReport
from streams.domain.state import ServerEnforcement
from streams.domain.verdict import Verdict
from streams.engine.ports import Output
from streams.engine.view import View

_DUE = struct.Struct(">q")
CHANGED_ROW_BYTES: Final = 1_000
"""What a changed server counts in its unit until its row is encoded, about what the row will have."""


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


def server_key(tenant_id: bytes, server: bytes) -> bytes:
    """The row of a server, of names as they stand in a record."""
    return b"s/" + tenant_id + b"/" + server


def server_row(tenant_id: str, server: str) -> bytes:
    """The row of a server."""
    return server_key(tenant_id.encode(), server.encode())


def tenant_row(tenant_id: str) -> bytes:
    """The row of a tenant."""
    return b"t/" + tenant_id.encode()


def forgotten_row(tenant_id: str, server: str) -> bytes:
    """The row of a server that was forgotten."""
    return f"f/{tenant_id}/{server}".encode()


def due_row(due: int, tenant_id: str, server: str) -> bytes:
    """The row of the due index."""
    return b"d/" + _DUE.pack(due) + b"/" + f"{tenant_id}/{server}".encode()


def due_before(moment: int) -> tuple[bytes, bytes]:
    """Between which keys the rows due at or before `moment` stand."""
    return b"d/", b"d/" + _DUE.pack(moment + 1)


def read_due_row(row: bytes) -> tuple[int, str, str]:
    """Due moment, tenant and server of a row of the due index."""
    tenant_id, _, server = row[11:].decode().partition("/")
    return _DUE.unpack_from(row, 2)[0], tenant_id, server


class Rows:
    """The repository of one partition. What a record changes is kept back until `accept`.

    `now` is the moment whose timers fire, `indexed` the due moment that was kept last, `fired` the row of the due index
    that is gone because its timer fires.
    """

    def __init__(self, wires: Wires, most: int) -> None:
        self.servers: dict[bytes, ServerRow] = {}
        self.changed: dict[bytes, ServerRow] = {}
        self.now = 0
        self.indexed: int | None = None
        self.fired: bytes | None = None
        self.tally = Tally()
        self.timers = DueTimers(b"d/", b"d0")
        self._wires, self._most = wires, most
        self._view: View
        self._kept: dict[bytes, tuple[ServerEnforcement | None, int | None]] = {}
        self._indexed_of: dict[tuple[str, str], int | None] = {}
        self._moves: list[tuple[bytes, int]] = []

    def fire_at(self, moment: int) -> None:
        """Timers of this moment fire next."""
        self.now, self.indexed = moment, None

    # --- units of work ---

    def begin(self, view: View) -> None:
        """Work on the view of a new unit."""
        self._view = view
        self.tally.begin(view.notes)

    def flush(self) -> None:
        """Put the changed servers into the view."""
        self._view.size_bytes -= CHANGED_ROW_BYTES * len(self.changed)
        for key, row in self.changed.items():
            row.is_changed = False
            self._view.put(key, row.to_bytes())
        self.changed.clear()

    def change(self, key: bytes, row: ServerRow) -> None:
        """The row has changed, and is encoded at the end of the unit."""
        if not row.is_changed:
            row.is_changed = True
            self.changed[key] = row
            self._view.size_bytes += CHANGED_ROW_BYTES

    def finish(self) -> None:
        """End the unit: everything is in its view, and no more is kept in memory than the limit allows."""
        self.flush()
        self.tally.finish()
        if len(self.servers) > self._most:
            for key in list(self.servers)[: len(self.servers) - self._most]:
                del self.servers[key]

    def accept(self) -> None:
        """Keep what the record changed."""
        for key, (state, indexed) in self._kept.items():
            if state is None:
                self.servers.pop(key, None)
                if self.changed.pop(key, None) is not None:
                    self._view.size_bytes -= CHANGED_ROW_BYTES
                self._view.put(key, None)
                continue
            row = self.servers.get(key)
            if row is None:
                row = self.servers[key] = ServerRow()
            row.take(state, indexed)
            self.change(key, row)
        self.tally.accept()
        for index_row, by in self._moves:
            self.timers.changed(index_row, by)
        self.drop()

    def drop(self) -> None:
        """Forget what the record changed and was not accepted; the view undoes the rest."""
        if self._kept:
            self._kept = {}
        if self._indexed_of:
            self._indexed_of = {}
        if self._moves:
            self._moves = []
        self.tally.drop()

    def row(self, key: bytes) -> ServerRow | None:
        """The row of a server, None where there is none."""
        row = self.servers.get(key)
        if row is None:
            value = self._view.get(key)
            if value is None:
                return None
            row = self.servers[key] = ServerRow(value)
        return row

    # --- repository ---

    def server(self, tenant_id: str, server: str) -> ServerEnforcement | None:
        """See `Repository`."""
        key = server_row(tenant_id, server)
        if key in self._kept:
            state, self._indexed_of[tenant_id, server] = self._kept[key]
            return state
        row = self.row(key)
        if row is None:
            self._indexed_of[tenant_id, server] = None
            return None
        self._indexed_of[tenant_id, server] = row.indexed if row.indexed >= 0 else None
        return row.state()

    def keep_server(self, tenant_id: str, server: str, state: ServerEnforcement | None, due_at: int | None) -> None:
        """See `Repository`."""
        self._index(tenant_id, server, due_at)
        self._kept[server_row(tenant_id, server)] = (state, self.indexed)

    def forgotten_revision(self, tenant_id: str, server: str) -> int:
        """See `Repository`."""
        return int(self._view.get(forgotten_row(tenant_id, server)) or 0)

    def servers_of(self, tenant_id: str) -> Iterable[str]:
        """See `Repository`."""
        prefix = f"s/{tenant_id}/".encode()
        return [key[len(prefix) :].decode() for key in self._view.keys(prefix)]

    def has_servers(self, tenant_id: str) -> bool:
        """See `Repository`."""
        return self._view.has_keys(f"s/{tenant_id}/".encode())

    def tenant(self, tenant_id: str) -> TenantEnforcement | None:
        """See `Repository`."""
        stored = self._view.get(tenant_row(tenant_id))
        tenant, indexed = decode_tenant(stored) if stored else (None, None)
        self._indexed_of[tenant_id, TENANT] = indexed
        return tenant

    def keep_tenant(self, tenant: TenantEnforcement, due_at: int | None) -> None:
        """See `Repository`."""
        self._index(tenant.tenant_id, TENANT, due_at)
        self._view.put(tenant_row(tenant.tenant_id), encode_tenant(tenant, self.indexed))

    @property
    def finding(self) -> Finding | None:
        """What the server was found to be that the record concerns; None where nothing is known of it."""
        for state, _ in self._kept.values():
            return state.finding if state is not None else None
        return None

    def _index(self, tenant_id: str, server: str, due_at: int | None) -> None:
        indexed = self._indexed_of.get((tenant_id, server))
        # An earlier row stays until it comes up; that it does so now is the case of a tick at its moment.
        if indexed is not None and due_at is not None and self.now < indexed <= due_at:
            self.indexed = indexed
            return
        if indexed is not None:
            row = due_row(indexed, tenant_id, server)
            self._view.put(row, None)
            if row != self.fired:
                self._moves.append((row, -1))
        if due_at is not None:
            row = due_row(due_at, tenant_id, server)
            self._view.put(row, b"")
            self._moves.append((row, 1))
        self.indexed = due_at

    def emit(self, emitted: Verdict | AdminNotification | ServerReport | Forgotten | AuditRecord) -> None:
        """See `Repository`."""
        wires, view = self._wires, self._view
        self.tally.emitted(emitted)
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
                view.put(forgotten_row(emitted.tenant_id, emitted.server), b"%d" % emitted.revision)
