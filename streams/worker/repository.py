"""States of servers and tenants as rows of the store: loads them, and applies changes to the unit of work.

`s/<tenant>/<server>` holds a server, `t/<tenant>` what covers a tenant, `f/<tenant>/<server>` the last revision of a
forgotten server, `d/<due, 8 bytes big-endian>/<tenant>/<server>` the due index. The index may hold an earlier moment
than the state needs (moving it with every connection would cost more); such a row finds nothing due and is put right.
For `v/`, `w/` and `x/` see `sweeps`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from streams.domain.keys import ServerKey
from streams.domain.server.routine import report_due_at
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.state import TenantEnforcement
from streams.engine.partition.view import StateView
from streams.kafka.record import Headers
from streams.service.effects import Effects, TenantChange
from streams.state.keys import parse_server_key, server_key, servers_range, tenant_key, tombstone_key
from streams.state.server_row import ServerRow
from streams.state.tenant_row import decode_tenant
from streams.worker.changes import Changes, EffectsEncoder
from streams.worker.channels import RecordChannels
from streams.worker.counters import UnitCounters
from streams.worker.due_index import DueTimers
from streams.worker.server_cache import ServerCache
from streams.worker.sweeps import Sweeps

SERVERS_AT_ONCE: Final = 100
"""Rows that are read at once where somebody goes over a tenant's servers."""


class PartitionRepository:
    """The repository of one partition, with its unit of work."""

    def __init__(self, wires: RecordChannels, most_bytes: int) -> None:
        self.cache = ServerCache(most_bytes)
        self.counters = UnitCounters()
        self.timers = DueTimers(b"d/", b"d0")
        self.sweeps = Sweeps()
        self._encoder = EffectsEncoder(wires, self.cache.rows, self.sweeps.row_of)
        self._view: StateView

    # --- units of work ---

    def begin(self, view: StateView) -> None:
        """Work on the view of a new unit."""
        self._view = view
        self.cache.begin(view)
        self.counters.begin(view.notes)
        self.sweeps.begin(view)

    def finish(self) -> None:
        """End the unit: everything is in its view."""
        self.cache.finish()
        self.counters.finish()

    def prepare(
        self,
        effects: Effects,
        now: int,
        headers: Headers = (),
        fired: bytes | None = None,
        leaves_out: bool = False,
    ) -> Changes:
        """What effects change in the unit: see `EffectsEncoder.encode`.

        Raises:
            ValueError: an output or a row cannot be written.
        """
        return self._encoder.encode(effects, self._view, now, headers, fired, leaves_out)

    def commit(self, changes: Changes, observed_at: int | None = None) -> None:
        """Apply changes to the unit; `observed_at` is the moment (UTC milliseconds) of the connection they are of."""
        view, sweeps = self._view, self.sweeps
        for output in changes.outputs:
            view.emit(output)
        for key, value in changes.rows:
            view.put(key, value)
        for key, row in changes.servers.items():
            self.cache.replace(key, row)
        for timer, by in changes.timers:
            self.timers.changed(timer, by)
        if sweeps.of:
            for server, is_known in changes.passed:
                sweeps.mark(server, is_known)
        if changes.put_off is not None:
            sweeps.put_off(*changes.put_off)
        for record in changes.counted:
            self.counters.emitted(record, observed_at)

    def make_report_due(self, row_key: bytes, row: ServerRow, now: int) -> None:
        """Let a server be reported at the end of the hour since its last report; its next timer is not due at `now`.

        Under an earlier moment the due index goes on to hold it.
        """
        changes = Changes()
        due_at = report_due_at(row.reported_at)
        indexed = changes.move_timer(parse_server_key(row_key), row.indexed, due_at, now, None)
        self.commit(changes)
        row.make_report_due(due_at if indexed is None else indexed)

    # --- loads ---

    def server(self, key: ServerKey) -> ServerEnforcement | None:
        """See `Repository`."""
        row_key = server_key(key)
        row = self.cache.row(row_key)
        if row is None:
            return None
        state = row.to_state()
        self.cache.count(row_key, row)
        return state

    def forgotten_revision(self, key: ServerKey) -> int:
        """See `Repository`."""
        return int(self._view.get(tombstone_key(key)) or 0)

    def servers_of(self, tenant_id: str) -> Iterator[str]:
        """See `Repository`; read as far as they are asked for."""
        start, end = servers_range(tenant_id)
        while True:
            rows = self._view.scan(start, end, SERVERS_AT_ONCE)
            for key, _ in rows:
                yield parse_server_key(key).server
            if len(rows) < SERVERS_AT_ONCE:
                return
            start = rows[-1][0] + b"\0"

    def put_off_of(self, key: ServerKey) -> Sequence[TenantChange]:
        """See `Repository`."""
        return self.sweeps.put_off_of(key) if self.sweeps.of else ()

    def tenant(self, tenant_id: str) -> TenantEnforcement | None:
        """See `Repository`."""
        stored = self._view.get(tenant_key(tenant_id))
        return decode_tenant(stored)[0] if stored else None
