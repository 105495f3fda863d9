"""A partition in memory: the processor with a store, fed in units as a worker makes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from streams.domain.policy.rulebook import Rulebook
from streams.domain.time import DAY_MS
from streams.engine.partition.view import StateView, size_of
from streams.engine.ports import Output
from streams.kafka.record import MAX_ROW_BYTES
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.settings.worker import Settings
from streams.testing import FakeRecord, MemoryStore
from streams.wire.codec import AvroCodec
from streams.wire.fast_headers import fast_headers
from streams.wire.records import parse_moment
from streams.wire.registry import LocalRegistry
from streams.worker.channels import Codec, RecordChannels
from streams.worker.processor import InputProcessor
from streams.worker.wiring import record_channels

START = parse_moment("start", "2026-10-01T20:00:00Z")
UNTIL = START + 500 * DAY_MS
REGISTRY = LocalRegistry()
SETTINGS = Settings()
WIRES, HEADER = record_channels(SETTINGS), fast_headers(REGISTRY)
COMMANDS_TOPIC = SETTINGS.topic("enforcement.commands.v1")
CONNECTIONS, COMMANDS = AvroCodec("inbound_connection", REGISTRY), AvroCodec("admin_command", REGISTRY)
RULEBOOK = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
TENANT, HOST = "t1", "mx.example.com"


def line_of(build: str, host: str = HOST, note: str = "") -> str:
    return f"from a{note} by {host} with Microsoft SMTP Server id {build}; Thu, 1 Oct 2026 20:00:00 +0000"


def connection(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "observed_at": START + number,
        "connector_type": "ON_PREMISES",
        "tenant_id": TENANT,
        "received": [line_of("15.1.2106.2")],
        "event_id": f"e{number}",
        "connector_id": "c1",
        "source_ip": "192.0.2.1",
        "helo": "h",
        "tls_subject": None,
        "message_id": None,
        "outcome": "ACCEPTED",
        "recipients": 1,
        "refused_before": 0,
        **fields,
    }


def command(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "command_id": f"c{number}",
        "tenant_id": TENANT,
        "kind": "PAUSE_SERVER",
        "issued_at": START + number,
        "issued_by": "admin",
        "role": "OPERATOR",
        "days": 1,
        "server": HOST,
        "owner": "mail",
        "reason": "moving",
        "build": "15.1.2507.61",
        "expires_at": START + 10 * DAY_MS,
        **fields,
    }


class Partition:
    """A processor with its store, in units as a worker makes them."""

    def __init__(self, wires: RecordChannels = WIRES, unit: int = 3) -> None:
        self.store = MemoryStore()
        self.processor = InputProcessor(lambda: RULEBOOK, wires, HEADER, UNTIL, cached_servers=2)
        self.outputs: list[Output] = []
        self.counts: Counter[str] = Counter()
        self._unit, self._count = unit, 0

    def feed(self, values: Sequence[dict[str, Any] | bytes], topic: str = WIRES.connections_topic) -> None:
        """Let it read records, `unit` of them in each unit of work."""
        codec = CONNECTIONS if topic == WIRES.connections_topic else COMMANDS
        records = []
        for value in values:
            tenant = value["tenant_id"] if isinstance(value, dict) else TENANT
            data = codec.encode(value) if isinstance(value, dict) else value
            records.append(FakeRecord(topic, self._count, 0, tenant.encode(), data))
            self._count += 1
        while records:
            with self._view() as view:
                self.processor.on_tick(view, 0, 100)
                done = self.processor.on_records(view, records[: self._unit], None)
            assert done
            records = records[done:]

    def fire(self, until: int = UNTIL) -> None:
        """Let time pass."""
        has_more = True
        while has_more:
            with self._view() as view:
                has_more = self.processor.on_tick(view, until, 50)

    def empty_unit(self) -> None:
        """Begin and end a unit of work that has nothing in it."""
        with self._view():
            pass

    @contextmanager
    def _view(self) -> Iterator[StateView]:
        view = StateView(self.store)
        self.processor.begin(view)
        yield view
        self.processor.finish(view)
        assert all(len(key) + len(value or b"") <= MAX_ROW_BYTES for key, value in view.changes.items())
        assert all(size_of(row) <= MAX_ROW_BYTES for row in view.outputs if not row.topic.endswith(".dlq"))
        self.store.write(view.changes)
        self.outputs += view.outputs
        for label, count in view.notes.counts.items():
            self.counts[label[0]] += count

    def values(self, topic: str, codec: Codec) -> list[dict[str, Any]]:
        return [codec.decode(row.value) for row in self.outputs if row.topic == topic and row.value is not None]

    @property
    def letters(self) -> list[Output]:
        return [row for row in self.outputs if row.topic.endswith(".dlq")]

    @property
    def audit(self) -> list[dict[str, Any]]:
        return self.values(WIRES.audit_topic, WIRES.audit)

    def rows_of(self, server: str) -> list[dict[str, Any]]:
        return [row for row in self.values(WIRES.servers_topic, WIRES.servers) if row["server"] == server]
