"""The rows of a worker's store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streams.adapters.avro_codec import AvroCodec
from streams.adapters.catalogue_files import shipped_catalogue
from streams.adapters.policy_files import read_policy
from streams.adapters.projection import header_of
from streams.adapters.records import parse_moment, to_record
from streams.adapters.schemas import LocalRegistry
from streams.adapters.stores import MemoryStore
from streams.agents.inputs import InputProcessor
from streams.agents.state_rows import shown_row
from streams.app import wires_of
from streams.domain.commands import AdminCommand, CommandKind, Role
from streams.domain.connection import DAY_MS, ConnectorType, InboundConnection
from streams.domain.rules import Rulebook
from streams.engine.view import View
from streams.settings import Settings
from tests.given import Given
from tests.golden.states import encoded, key_of, states

Golden = dict[str, Any]

START = parse_moment("start", "2026-10-01T12:00:00Z")


def worker_rows(before: Mapping[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    """The store of a worker after some records, long silence, and in the middle of a change of policies.

    Without `before` it begins empty.
    """
    store = MemoryStore()
    store.write(dict(before or {}))
    settings, registry = Settings(), LocalRegistry()
    wires, connections = wires_of(settings), AvroCodec("inbound_connection", registry)
    policy = read_policy("microsoft-2026-09")
    rulebooks = [Rulebook((policy,), shipped_catalogue()), Rulebook((replace(policy, version=2),), shipped_catalogue())]
    processor = InputProcessor(lambda: rulebooks[0], wires, header_of(registry), START + 500 * DAY_MS)

    def unit(records: list[Given], moment: int, limit: int) -> None:
        view = View(store)
        processor.begin(view)
        processor.on_tick(view, moment, limit)
        assert processor.on_records(view, records, None) == len(records)
        assert not view.rejected
        processor.finish(view)
        store.write(view.changes)

    def seen(server: int, at: int, build: str) -> Given:
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
        return Given(wires.connections_topic, 0, 0, b"tenant-1", connections.encode(to_record(event)))

    def paused(at: int) -> Given:
        command = AdminCommand(
            command_id="command-1",
            tenant_id="tenant-1",
            issued_at=at,
            issued_by="admin",
            role=Role.TENANT_ADMIN,
            kind=CommandKind.PAUSE_CREATE,
            days=10,
        )
        return Given(
            settings.topic("enforcement.commands.v1"), 0, 0, b"tenant-1", wires.commands.encode(to_record(command))
        )

    if before is None:
        unit([seen(0, START, "15.1.2507.39")], 0, 1000)
        unit([], START + 401 * DAY_MS, 1000)  # the first server is forgotten
        later = START + 450 * DAY_MS
        unit(
            [seen(number, later + number, build) for number, build in ((1, "15.1.2507.39"), (2, "15.1.2507.61"))], 0, 9
        )
        unit([paused(later + DAY_MS)], 0, 9)
    rulebooks.reverse()
    unit([], 0, 1)
    if before is not None:
        unit([], 0, 1000)
    return dict(store.scan(b"", b"\xff"))


def state_rows() -> list[Golden]:
    """The rows of all kinds: what they are, their keys and values in hex, and what they show."""
    rows = [(name, key_of(state), encoded(state, due_at)) for name, (state, due_at) in states().items()]
    rows += [("of a worker's store", key, value) for key, value in worker_rows().items()]
    return [
        {"name": name, "key": key.hex(), "value": value.hex(), "shows": json.loads(json.dumps(shown_row(key, value)))}
        for name, key, value in rows
    ]
