"""Tenant-wide commands whose servers are changed bit by bit, over several units of work.

A command's change gets a number. A pass goes over the tenant's servers in the order of their names and brings each up
to the number that was the newest when the pass began, `target`; the pass before it had brought all to `base`. So a
server's name, and how far the pass has come, tell which changes the server has had. Those of which that is not true,
since something else happened to them meanwhile, have a row of their own until a pass goes by.

Rows: `w/<tenant>` has how far the pass has come, `v/<tenant>/<number>` a change, `x/<tenant>/<server>` the number of
the last change of a server that has had more than its name tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from streams.domain.keys import ServerKey
from streams.domain.policy.ladder import ClockStop
from streams.domain.tenant.waivers import Waivers
from streams.engine.partition.view import StateView
from streams.service.effects import TenantChange
from streams.state.keys import (
    NUMBER_DIGITS,
    SWEEPS_RANGE,
    parse_server_key,
    put_off_key,
    servers_range,
    sweep_key,
    swept_server_key,
)

MAX_PUT_OFF: Final = 32
"""Changes of a tenant that are put off at once: each may cost a server that connects a verdict."""


class Sweep:
    """How far the servers of a tenant are; `cursor` is the last server that the pass has gone over, as its bytes.

    `passing` is the server that the pass goes over now.
    """

    __slots__ = ("base", "changes", "cursor", "newest", "passing", "target")

    def __init__(self, base: int = 0, target: int = 1, newest: int = 0, cursor: bytes = b"") -> None:
        self.base, self.target, self.newest, self.cursor = base, target, newest, cursor
        self.passing: bytes | None = None
        self.changes: list[tuple[int, TenantChange]] = []

    def number_of(self, server: bytes) -> int:
        """The last change that a server without a row of its own has had."""
        return self.target if server <= self.cursor else self.base

    def encode(self) -> bytes:
        """The row."""
        return orjson.dumps([self.base, self.target, self.newest, self.cursor.decode()])


class Sweeps:
    """The sweeps of a partition, in memory and in the rows of the view."""

    def __init__(self) -> None:
        self.of: dict[str, Sweep] = {}
        self._view: StateView
        self._is_read = False

    def begin(self, view: StateView) -> None:
        """Work on the view of a new unit."""
        self._view = view
        if self._is_read:
            return
        self._is_read = True
        for key, value in view.scan(*SWEEPS_RANGE):
            tenant_id = key[2:].decode()
            base, target, newest, cursor = orjson.loads(value)
            sweep = self.of[tenant_id] = Sweep(base, target, newest, cursor.encode())
            prefix = put_off_key(tenant_id, 0)[:-NUMBER_DIGITS]
            for row, change in view.scan(prefix, prefix[:-1] + b"0"):
                sweep.changes.append((int(row[len(prefix) :]), _read_change(change)))

    def row_of(self, tenant_id: str, change: TenantChange) -> tuple[bytes, bytes]:
        """The row that the tenant's next change will have."""
        known = self.of.get(tenant_id)
        return put_off_key(tenant_id, known.newest + 1 if known is not None else 1), _change_bytes(change)

    def put_off(self, tenant_id: str, change: TenantChange) -> None:
        """Let every server of the tenant that is known now be caught up with a change some time."""
        key, value = self.row_of(tenant_id, change)
        sweep = self.of.setdefault(tenant_id, Sweep())
        sweep.newest += 1
        sweep.changes.append((sweep.newest, change))
        self._view.put(sweep_key(tenant_id), sweep.encode())
        self._view.put(key, value)

    def put_off_of(self, key: ServerKey) -> Sequence[TenantChange]:
        """The changes that a server has not had yet."""
        sweep = self.of.get(key.tenant_id)
        if sweep is None:
            return ()
        row = self._view.get(swept_server_key(key))
        number = int(row) if row is not None else sweep.number_of(key.server.encode())
        return [change for at, change in sweep.changes if at > number]

    def mark(self, key: ServerKey, is_known: bool) -> None:
        """A server has had all changes, or is gone."""
        sweep = self.of.get(key.tenant_id)
        if sweep is None:
            return
        name = key.server.encode()
        number = sweep.target if name == sweep.passing else sweep.number_of(name)
        self._set(key, sweep.newest if is_known and number != sweep.newest else None)

    def next_servers(self, tenant_id: str, limit: int) -> list[ServerKey]:
        """The next servers that the pass has to go over."""
        start, end = servers_range(tenant_id)
        cursor = self.of[tenant_id].cursor
        if cursor:
            start += cursor + b"\0"
        return [parse_server_key(row) for row, _ in self._view.scan(start, end, limit)]

    def begin_passing(self, key: ServerKey) -> None:
        """The pass goes over a server now."""
        self.of[key.tenant_id].passing = key.server.encode()

    def end_passing(self, key: ServerKey) -> None:
        """The pass has gone over a server."""
        sweep = self.of[key.tenant_id]
        sweep.cursor, sweep.passing = key.server.encode(), None
        row = self._view.get(swept_server_key(key))
        if row is not None and int(row) == sweep.target:
            self._set(key, None)

    def end_slice(self, tenant_id: str, is_over: bool) -> None:
        """Keep how far the pass has come; where it is over the next one begins, if there is anything to do for it."""
        sweep = self.of[tenant_id]
        if is_over:
            for number, _ in sweep.changes:
                if number <= sweep.target:
                    self._view.put(put_off_key(tenant_id, number), None)
            sweep.changes = [found for found in sweep.changes if found[0] > sweep.target]
            sweep.base, sweep.target, sweep.cursor = sweep.target, sweep.newest, b""
        if sweep.changes:
            self._view.put(sweep_key(tenant_id), sweep.encode())
            self.of[tenant_id] = self.of.pop(tenant_id)  # behind the others, whose turn it is
        else:
            self._view.put(sweep_key(tenant_id), None)
            del self.of[tenant_id]

    def _set(self, key: ServerKey, number: int | None) -> None:
        row = swept_server_key(key)
        value = None if number is None else b"%d" % number
        if self._view.get(row) != value:
            self._view.put(row, value)


def _spans(spans: Sequence[ClockStop]) -> list[list[int]]:
    return [[span.starts_at, span.ends_at] for span in spans]


def _read_spans(rows: list[list[int]]) -> tuple[ClockStop, ...]:
    return tuple([ClockStop(starts_at, ends_at) for starts_at, ends_at in rows])


def _change_bytes(change: TenantChange) -> bytes:
    own = {
        server: [[_spans(waivers.pauses), _spans(waivers.exceptions)] for waivers in waivers_by_server]
        for server, waivers_by_server in change.own.items()
    }
    return orjson.dumps([change.at, _spans(change.before), _spans(change.after), own])


def _read_change(value: bytes) -> TenantChange:
    content: list[Any] = orjson.loads(value)
    at, before, after, own = content
    waivers_by_server: dict[str, tuple[Waivers, Waivers]] = {}
    for server, pair in own.items():
        was, becomes = [Waivers(_read_spans(pauses), _read_spans(grants)) for pauses, grants in pair]
        waivers_by_server[server] = (was, becomes)
    return TenantChange(at, _read_spans(before), _read_spans(after), waivers_by_server)
