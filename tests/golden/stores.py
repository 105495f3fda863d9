"""The rows of a worker's store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from streams.domain.keys import ServerKey
from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.time import DAY_MS
from streams.engine.partition.restore import FILLED_AT, NAME, POSITION
from streams.engine.partition.state_format import new_rows
from streams.engine.partition.unit import MARKER, MERGED_MARKER
from streams.engine.partition.view import StateView
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.effects import TenantChange
from streams.settings.worker import Settings
from streams.state.inspect import shown_row
from streams.state.row_format import STATE_FORMAT
from streams.testing import FakeRecord, MemoryStore
from streams.wire.codec import AvroCodec
from streams.wire.fast_headers import fast_headers
from streams.wire.records import parse_moment, to_record
from streams.wire.registry import LocalRegistry
from streams.worker.processor import InputProcessor
from streams.worker.sweeps import Sweeps
from streams.worker.wiring import record_channels
from tests.golden.states import encoded, key_of, states
from tests.golden.values import full

Golden = dict[str, Any]

OWN_ROWS = (MARKER, MERGED_MARKER, POSITION, FILLED_AT)
"""Rows that a partition keeps of itself, each with a number."""
START = parse_moment("start", "2026-10-01T12:00:00Z")


class _Worker:
    """A processor over a store, which begins with the rows `before`; the first of its `rulebooks` holds."""

    def __init__(self, before: Mapping[bytes, bytes] | None = None, servers_at_once: int = 100) -> None:
        self.store = MemoryStore()
        self.store.write(dict(before or {}))
        self._settings, registry = Settings(), LocalRegistry()
        self._wires, self._connections = record_channels(self._settings), AvroCodec("inbound_connection", registry)
        policy, catalogue = read_policy("microsoft-2026-09"), shipped_catalogue()
        self.rulebooks = [Rulebook((policy,), catalogue), Rulebook((replace(policy, version=2),), catalogue)]
        self._processor = InputProcessor(
            lambda: self.rulebooks[0],
            self._wires,
            fast_headers(registry),
            START + 500 * DAY_MS,
            servers_at_once=servers_at_once,
        )

    def unit(self, records: Sequence[FakeRecord] = (), moment: int = 0, limit: int = 9) -> None:
        """A unit of work with so many timers at most."""
        view = StateView(self.store)
        self._processor.begin(view)
        if limit:
            self._processor.on_tick(view, moment, limit)
        assert not records or self._processor.on_records(view, records, None) == len(records)
        assert not view.rejected
        self._processor.finish(view)
        self.store.write(view.changes)

    def seen(self, server: int, at: int, build: str) -> FakeRecord:
        """A connection."""
        event = InboundConnection(
            event_id=f"event-{server}-{at}",
            observed_at=at,
            tenant_id="tenant-1",
            connector_id="connector-1",
            connector_type=ConnectorType.ON_PREMISES,
            source_ip="192.0.2.1",
            helo="h",
            received=(f"from a by mx{server}.example.com with Microsoft SMTP Server id {build}; x",),
        )
        return FakeRecord(self._wires.connections_topic, 0, 0, b"tenant-1", self._connections.encode(to_record(event)))

    def paused(self, number: int, at: int) -> FakeRecord:
        """A command for the whole tenant."""
        command = AdminCommand(
            command_id=f"command-{number}",
            tenant_id="tenant-1",
            issued_at=at,
            issued_by="admin",
            role=Role.TENANT_ADMIN,
            kind=CommandKind.PAUSE_CREATE,
            days=10,
        )
        topic = self._settings.topic("enforcement.commands.v1")
        return FakeRecord(topic, 0, 0, b"tenant-1", self._wires.commands.encode(to_record(command)))

    def rows(self) -> dict[bytes, bytes]:
        """All rows of the store."""
        return dict(self.store.scan(b"", b"\xff"))


def worker_rows(before: Mapping[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    """The store of a worker after some records, long silence, and in the middle of a change of policies.

    Without `before` it begins empty.
    """
    worker = _Worker(before)
    if before is None:
        worker.unit([worker.seen(0, START, "15.1.2507.39")], limit=1000)
        worker.unit(moment=START + 401 * DAY_MS, limit=1000)  # the first server is forgotten
        later = START + 450 * DAY_MS
        builds = ((1, "15.1.2507.39"), (2, "15.1.2507.61"))
        worker.unit([worker.seen(number, later + number, build) for number, build in builds])
        worker.unit([worker.paused(1, later + DAY_MS)])
    worker.rulebooks.reverse()
    worker.unit(limit=1)
    if before is not None:
        worker.unit(limit=1000)
    return worker.rows()


def swept_rows() -> dict[bytes, bytes]:
    """The store of a worker while two commands go over the servers of a tenant.

    The first of the servers is behind, the last has connected meanwhile.
    """
    worker = _Worker(servers_at_once=1)
    worker.unit([worker.seen(number, START + number, "15.1.2507.39") for number in range(4)])
    for number in (1, 2):
        worker.unit([worker.paused(number, START + number * DAY_MS)], limit=0)
    worker.unit([worker.seen(3, START + 3 * DAY_MS, "15.1.2507.39")], limit=0)
    return worker.rows()


def put_off_rows(change: TenantChange) -> dict[bytes, bytes]:
    """The rows of a change that is put off."""
    view, sweeps = StateView(MemoryStore()), Sweeps()
    sweeps.begin(view)
    sweeps.put_off("tenant-1", change)
    return {key: value for key, value in view.changes.items() if value is not None}


def put_off_in(rows: Mapping[bytes, bytes]) -> Sequence[TenantChange]:
    """The changes that a server has not had yet, as a worker reads them from rows."""
    store, sweeps = MemoryStore(), Sweeps()
    store.write(dict(rows))
    sweeps.begin(StateView(store))
    return sweeps.put_off_of(ServerKey("tenant-1", "mx1.example.com"))


def stored_rows() -> dict[str, dict[bytes, bytes]]:
    """Names of stores, and their rows."""
    return {
        "of a worker's store": worker_rows(),
        "of a worker's store, in a sweep": swept_rows(),
        "of a change that is put off": put_off_rows(full(TenantChange)),
        "of a partition itself": {row: b"%d" % number for number, row in enumerate(OWN_ROWS, 41)},
        "of a new changelog": new_rows(b"%d" % STATE_FORMAT) | {NAME: b"name"},
    }


def state_rows() -> list[Golden]:
    """The rows of all kinds: what they are, their keys and values in hex, and what they show."""
    rows = [(name, key_of(state), encoded(state, due_at)) for name, (state, due_at) in states().items()]
    for name, found in stored_rows().items():
        rows += [(name, key, value) for key, value in found.items()]
    return [
        {"name": name, "key": key.hex(), "value": value.hex(), "shows": json.loads(json.dumps(shown_row(key, value)))}
        for name, key, value in rows
    ]
