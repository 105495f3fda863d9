"""The effects of an event as bytes, all of which the state and the topics take; applied to a unit all at once.

Nothing is changed before everything is encoded and its size is checked, so what fails leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable

from streams.domain.keys import ServerKey
from streams.domain.server.decide import Emitted, Forgotten
from streams.domain.tenant.audit import AuditRecord
from streams.engine.partition.view import StateView, check_row, check_row_size
from streams.engine.ports import Output
from streams.kafka.record import Headers
from streams.service.effects import TENANT, Effects, KeptServer, KeptTenant, TenantChange
from streams.state.keys import server_key, tenant_key, timer_key, tombstone_key
from streams.state.server_row import ServerRow
from streams.state.tenant_row import decode_tenant, encode_tenant
from streams.worker.channels import RecordChannels, encode_output, encode_what_fits


class Changes:
    """What an event does to a unit of work.

    `counted` are the records that are written whole. `rows` go into the view as they are, `servers` by way of the
    cache. `timers` holds the rows of the due index that come (1) and go (-1). `passed` names the servers that have had
    all changes, each with whether it is still known. `indexed` has the moment under which the due index holds a server,
    or a tenant as `TENANT`, from then on.
    """

    __slots__ = ("counted", "indexed", "outputs", "passed", "put_off", "rows", "servers", "timers")

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.counted: list[Emitted | AuditRecord] = []
        self.rows: list[tuple[bytes, bytes | None]] = []
        self.servers: dict[bytes, ServerRow | None] = {}
        self.timers: list[tuple[bytes, int]] = []
        self.passed: list[tuple[ServerKey, bool]] = []
        self.put_off: tuple[str, TenantChange] | None = None
        self.indexed: dict[ServerKey, int | None] = {}

    def move_timer(
        self, key: ServerKey, indexed: int | None, due_at: int | None, now: int, fired: bytes | None
    ) -> int | None:
        """Let the due index hold a server under its next due moment; gives the moment that it is held under.

        Args:
            key: of the server, its name `TENANT` for the tenant itself.
            indexed: under which moment it is held.
            due_at: when its next timer is due.
            now: the moment whose timers fire.
            fired: the row of the index that is gone because its timer fires.
        """
        # An earlier row stays until it comes up; that it does so now is the case of a tick at its moment.
        if indexed is not None and due_at is not None and now < indexed <= due_at:
            due_at = indexed
        else:
            if indexed is not None:
                row = timer_key(indexed, key)
                self.rows.append((row, None))
                if row != fired:
                    self.timers.append((row, -1))
            if due_at is not None:
                row = timer_key(due_at, key)
                self.rows.append((row, b""))
                self.timers.append((row, 1))
        self.indexed[key] = due_at
        return due_at


class EffectsEncoder:
    """Makes changes of effects, in a partition whose servers in memory are `cached`.

    `row_of_put_off` gives the row of a change that is put off.
    """

    def __init__(
        self,
        wires: RecordChannels,
        cached: dict[bytes, ServerRow],
        row_of_put_off: Callable[[str, TenantChange], tuple[bytes, bytes]],
    ) -> None:
        self._wires, self._cached, self._row_of_put_off = wires, cached, row_of_put_off

    def encode(
        self,
        effects: Effects,
        view: StateView,
        now: int,
        headers: Headers = (),
        fired: bytes | None = None,
        leaves_out: bool = False,
    ) -> Changes:
        """The changes that effects come to.

        Args:
            effects: what an event came to.
            view: reads the rows of the state.
            now: the moment whose timers fire, UTC milliseconds.
            headers: what every output gets.
            fired: the row of the due index that is gone because its timer fires.
            leaves_out: log and leave out what cannot be written, which otherwise is an error.

        Raises:
            ValueError: an output or a row cannot be written.
        """
        changes = Changes()
        self._encode_outputs(changes, effects, headers, leaves_out)
        states: dict[bytes, KeptServer] = {}
        for kept in effects.kept:
            if isinstance(kept, KeptServer):
                row_key = server_key(kept.key)
                self._move_timer_of(changes, kept, row_key, now, fired)
                changes.passed.append((kept.key, kept.state is not None))
                states[row_key] = kept
            else:
                _encode_tenant(changes, kept, view, now, fired)
        if effects.put_off is not None:
            changes.put_off = effects.put_off
            check_row(*self._row_of_put_off(*effects.put_off))
        for row_key, kept in states.items():
            changes.servers[row_key] = _row_of(row_key, kept, changes.indexed[kept.key])
        return changes

    def _encode_outputs(self, changes: Changes, effects: Effects, headers: Headers, leaves_out: bool) -> None:
        for record in effects.outputs:
            if leaves_out:
                outputs, is_whole = encode_what_fits(self._wires, record, headers)
            else:
                outputs, is_whole = encode_output(self._wires, record, headers), True
            changes.outputs += outputs
            if is_whole:
                changes.counted.append(record)
            if isinstance(record, Forgotten):
                changes.rows.append((tombstone_key(record.key), b"%d" % record.revision))

    def _move_timer_of(self, changes: Changes, kept: KeptServer, row_key: bytes, now: int, fired: bytes | None) -> None:
        if kept.key in changes.indexed:
            indexed = changes.indexed[kept.key]
        else:
            # Its state has been loaded, so it is cached if there is any.
            row = self._cached.get(row_key)
            indexed = row.indexed if row is not None and row.indexed >= 0 else None
        changes.move_timer(kept.key, indexed, kept.due_at, now, fired)


def _encode_tenant(changes: Changes, kept: KeptTenant, view: StateView, now: int, fired: bytes | None) -> None:
    key = ServerKey(kept.tenant.tenant_id, TENANT)
    row_key = tenant_key(key.tenant_id)
    if key in changes.indexed:
        indexed = changes.indexed[key]
    else:
        stored = view.get(row_key)
        indexed = decode_tenant(stored)[1] if stored else None
    value = encode_tenant(kept.tenant, changes.move_timer(key, indexed, kept.due_at, now, fired))
    check_row(row_key, value)
    changes.rows.append((row_key, value))


def _row_of(key: bytes, kept: KeptServer, indexed: int | None) -> ServerRow | None:
    if kept.state is None:
        check_row_size(key, 0)
        return None
    row = ServerRow()
    row.from_state(kept.state, indexed)
    check_row_size(key, row.size)
    return row
