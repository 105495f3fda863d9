"""States of servers and tenants as rows of the store, servers kept in memory between units of work.

`s/<tenant>/<server>` holds a server, `t/<tenant>` what covers a tenant, `f/<tenant>/<server>` the last revision of a
forgotten server, `d/<due, 8 bytes big-endian>/<tenant>/<server>` the due index. The index may hold an earlier moment
than the state needs (moving it with every connection would cost more); such a row finds nothing due and is put right.
For `v/`, `w/` and `x/` see `sweeps`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from streams.domain.outputs.notification import AdminNotification
from streams.domain.outputs.server_report import ServerReport
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.judgement import Finding
from streams.domain.server.decide import Forgotten
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.audit import AuditRecord
from streams.domain.tenant.state import TenantEnforcement
from streams.engine.partition.view import StateView, check_row_size
from streams.engine.ports import Output
from streams.errors import is_records_fault
from streams.log_events import log_event
from streams.service.enforcer import TENANT, TenantChange
from streams.state.keys import server_key, tenant_key, timer_key, tombstone_key
from streams.state.server_row import ServerRow, decode_tenant, encode_tenant
from streams.wire.records import to_record
from streams.worker.counters import UnitCounters
from streams.worker.due_index import DueTimers
from streams.worker.sweeps import Sweeps

log = logging.getLogger(__name__)

SERVER_BYTES: Final = 3_800
"""What a cached server is taken to have in memory: a row with the marks of 32 connections, decided about lately."""
_ENTRY_MEMORY: Final = 200
"""Of a key and its entry in a table, the key's text aside."""
SERVERS_AT_ONCE: Final = 100
"""Rows that are read at once where somebody goes over a tenant's servers."""
SLACK_BYTES: Final = 16 << 20
"""How far beyond its bound the cache may go within one unit of work, which then ends."""


class Codec(Protocol):
    """Records to bytes and back."""

    def encode(self, record: dict[str, Any]) -> bytes:
        """The value of a record."""

    def decode(self, value: bytes | None) -> dict[str, Any]:
        """The record of a value."""


@dataclass(frozen=True, slots=True)
class RecordChannels:
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


class PartitionRepository:
    """The repository of one partition. What a record changes is kept back until `prepare` and `accept`.

    Rows that take more than `most_bytes` in memory go from it at the end of a unit, those first that came first.
    `now` is the moment whose timers fire, `indexed` the due moment that was kept last, `fired` the row of the due index
    that is gone because its timer fires. While it `leaves_out`, an output that cannot be written is told of and left
    out.
    """

    def __init__(self, wires: RecordChannels, most_bytes: int) -> None:
        self.servers: dict[bytes, ServerRow] = {}
        self.servers_bytes = 0
        self.changed: dict[bytes, ServerRow] = {}
        self.now = 0
        self.indexed: int | None = None
        self.fired: bytes | None = None
        self.leaves_out = False
        self.counters = UnitCounters()
        self.timers = DueTimers(b"d/", b"d0")
        self.sweeps = Sweeps()
        self._wires, self._most_bytes = wires, most_bytes
        self._view: StateView
        self._staged_states: dict[bytes, tuple[ServerEnforcement | None, int | None]] = {}
        self._ready: list[tuple[bytes, ServerRow | None]] = []
        self._indexed_of: dict[tuple[str, str], int | None] = {}
        self._staged_timers: list[tuple[bytes, int]] = []

    def fire_at(self, moment: int) -> None:
        """Timers of this moment fire next."""
        self.now, self.indexed = moment, None

    # --- units of work ---

    def begin(self, view: StateView) -> None:
        """Work on the view of a new unit."""
        self._view = view
        self.counters.begin(view.notes)
        self.sweeps.begin(view)

    def flush(self) -> None:
        """Put the changed servers into the view."""
        for key, row in self.changed.items():
            value = row.encode()
            grown = len(key) + len(value) - row.unit_bytes
            row.cached_bytes += grown
            self.servers_bytes += grown
            self._view.size_bytes -= row.unit_bytes
            row.unit_bytes = 0
            row.is_changed = False
            self._view.put(key, value)
        self.changed.clear()

    def change(self, key: bytes, row: ServerRow) -> None:
        """The row has changed, and is encoded at the end of the unit."""
        if not row.is_changed:
            row.is_changed = True
            self.changed[key] = row
            row.unit_bytes = len(key) + row.size
            self._view.size_bytes += row.unit_bytes

    def finish(self) -> None:
        """End the unit: everything is in its view, and no more is kept in memory than the limit allows."""
        self.flush()
        self.counters.finish()
        if self.servers_bytes > self._most_bytes:
            gone = []
            for key, row in self.servers.items():
                if self.servers_bytes <= self._most_bytes:
                    break
                self.servers_bytes -= row.cached_bytes
                gone.append(key)
            for key in gone:
                del self.servers[key]

    def prepare(self) -> None:
        """Encode what the record changed.

        Raises:
            ValueError: a row is larger than the changelog takes.
        """
        self._ready.clear()
        for key, (state, indexed) in self._staged_states.items():
            row: ServerRow | None = None
            if state is not None:
                row = ServerRow()
                row.from_state(state, indexed)
            check_row_size(key, row.size if row is not None else 0)
            self._ready.append((key, row))

    def commit(self) -> None:
        """Keep what the record changed, once it is prepared."""
        for key, row in self._ready:
            old = self.servers.pop(key, None) if row is None else self.servers.get(key)
            if old is not None:
                self.servers_bytes -= old.cached_bytes
                if old.is_changed:
                    self._view.size_bytes -= old.unit_bytes
                    del self.changed[key]
            if row is None:
                self._view.put(key, None)
                continue
            self.servers[key] = row
            self.change(key, row)
            self._add_cached(key, row)
        self._ready.clear()
        self.sweeps.commit()
        self.counters.commit()
        for index_row, by in self._staged_timers:
            self.timers.changed(index_row, by)
        self.discard()

    def discard(self) -> None:
        """Forget what the record changed and was not accepted; the view undoes the rest."""
        if self._staged_states:
            self._staged_states = {}
        if self._indexed_of:
            self._indexed_of = {}
        if self._staged_timers:
            self._staged_timers = []
        self.sweeps.discard()
        self.counters.discard()

    def row(self, key: bytes) -> ServerRow | None:
        """The row of a server, None where there is none."""
        row = self.servers.get(key)
        if row is None:
            value = self._view.get(key)
            if value is None:
                return None
            row = self.servers[key] = ServerRow(value)
            self._add_cached(key, row)
        return row

    def _add_cached(self, key: bytes, row: ServerRow) -> None:
        row.cached_bytes = 0
        self._count_cached(key, row)

    def _count_cached(self, key: bytes, row: ServerRow) -> None:
        """Count the row of `servers` as it is by now; the unit ends where a few more would be too many."""
        size = _ENTRY_MEMORY + len(key) + row.memory_bytes
        self.servers_bytes += size - row.cached_bytes
        row.cached_bytes = size
        if self.servers_bytes > self._most_bytes + SLACK_BYTES:
            self._view.close()

    # --- repository ---

    def server(self, tenant_id: str, server: str) -> ServerEnforcement | None:
        """See `Repository`."""
        key = server_key(tenant_id, server)
        if key in self._staged_states:
            state, self._indexed_of[tenant_id, server] = self._staged_states[key]
            return state
        row = self.row(key)
        if row is None:
            self._indexed_of[tenant_id, server] = None
            return None
        self._indexed_of[tenant_id, server] = row.indexed if row.indexed >= 0 else None
        state = row.to_state()
        self._count_cached(key, row)
        return state

    def keep_server(self, tenant_id: str, server: str, state: ServerEnforcement | None, due_at: int | None) -> None:
        """See `Repository`."""
        self._index(tenant_id, server, due_at)
        self._staged_states[server_key(tenant_id, server)] = (state, self.indexed)
        if self.sweeps.of:
            self.sweeps.mark(tenant_id, server, state is not None)

    def forgotten_revision(self, tenant_id: str, server: str) -> int:
        """See `Repository`."""
        return int(self._view.get(tombstone_key(tenant_id, server)) or 0)

    def servers_of(self, tenant_id: str) -> Iterator[str]:
        """See `Repository`; read as far as they are asked for."""
        prefix = f"s/{tenant_id}/".encode()
        start, end = prefix, prefix[:-1] + b"0"
        while True:
            rows = self._view.scan(start, end, SERVERS_AT_ONCE)
            for key, _ in rows:
                yield key[len(prefix) :].decode()
            if len(rows) < SERVERS_AT_ONCE:
                return
            start = rows[-1][0] + b"\0"

    def put_off(self, tenant_id: str, change: TenantChange) -> None:
        """See `Repository`."""
        self.sweeps.put_off(tenant_id, change)

    def put_off_of(self, tenant_id: str, server: str) -> Sequence[TenantChange]:
        """See `Repository`."""
        return self.sweeps.put_off_of(tenant_id, server) if self.sweeps.of else ()

    def tenant(self, tenant_id: str) -> TenantEnforcement | None:
        """See `Repository`."""
        stored = self._view.get(tenant_key(tenant_id))
        tenant, indexed = decode_tenant(stored) if stored else (None, None)
        self._indexed_of[tenant_id, TENANT] = indexed
        return tenant

    def keep_tenant(self, tenant: TenantEnforcement, due_at: int | None) -> None:
        """See `Repository`."""
        self._index(tenant.tenant_id, TENANT, due_at)
        self._view.put(tenant_key(tenant.tenant_id), encode_tenant(tenant, self.indexed))

    @property
    def finding(self) -> Finding | None:
        """What the server was found to be that the record concerns; None where nothing is known of it."""
        for state, _ in self._staged_states.values():
            return state.finding if state is not None else None
        return None

    def _index(self, tenant_id: str, server: str, due_at: int | None) -> None:
        indexed = self._indexed_of.get((tenant_id, server))
        # An earlier row stays until it comes up; that it does so now is the case of a tick at its moment.
        if indexed is not None and due_at is not None and self.now < indexed <= due_at:
            self.indexed = indexed
            return
        if indexed is not None:
            row = timer_key(indexed, tenant_id, server)
            self._view.put(row, None)
            if row != self.fired:
                self._staged_timers.append((row, -1))
        if due_at is not None:
            row = timer_key(due_at, tenant_id, server)
            self._view.put(row, b"")
            self._staged_timers.append((row, 1))
        self.indexed = due_at

    def emit(self, emitted: Verdict | AdminNotification | ServerReport | Forgotten | AuditRecord) -> None:
        """See `Repository`."""
        is_whole = True
        for topic, key, codec in self._places_of(emitted):
            try:
                value = codec.encode(to_record(emitted)) if codec is not None else None
                self._view.emit(Output(topic, key, value))
            except Exception as error:
                if not self.leaves_out or not is_records_fault(error):
                    raise
                is_whole = False
                log.critical(
                    "dropped the output of a timer to %s: %s: %s",
                    *(topic, type(error).__name__, str(error)[:1000]),
                    extra=log_event("output_left_out", topic=topic, reason=type(error).__name__),
                )
        if is_whole:
            self.counters.emitted(emitted)
        if isinstance(emitted, Forgotten):
            self._view.put(tombstone_key(emitted.tenant_id, emitted.server), b"%d" % emitted.revision)

    def _places_of(
        self, emitted: Verdict | AdminNotification | ServerReport | Forgotten | AuditRecord
    ) -> list[tuple[str, bytes, Codec | None]]:
        """Topic, key and codec of what is emitted, None for a tombstone."""
        wires = self._wires
        match emitted:
            case Verdict():
                return [(wires.verdicts_topic, f"{emitted.tenant_id}/{emitted.server}".encode(), wires.verdicts)]
            case AdminNotification():
                return [(wires.notifications_topic, emitted.tenant_id.encode(), wires.notifications)]
            case ServerReport():
                return [(wires.servers_topic, f"{emitted.tenant_id}/{emitted.server}".encode(), wires.servers)]
            case AuditRecord():
                return [(wires.audit_topic, emitted.tenant_id.encode(), wires.audit)]
            case Forgotten():
                key = f"{emitted.tenant_id}/{emitted.server}".encode()
                return [(wires.verdicts_topic, key, None), (wires.servers_topic, key, None)]
