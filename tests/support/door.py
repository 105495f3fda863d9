"""A door whose disk is in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.domain.edge import Decision, EdgeVerdict, Knowledge
from streams.domain.keys import ServerKey
from streams.domain.server.connection import InboundConnection
from streams.edge.client import Client, Connector
from streams.edge.door import Door
from streams.edge.ports import SpooledEvent, UnreadableVerdictError

NOW = 1_800_000_000_000
CONNECTOR = Connector("contoso", "c1")


class MemoryVerdicts:
    """Verdicts that are current, unless a test says otherwise."""

    def __init__(self) -> None:
        self.knowledge = Knowledge(NOW)
        self.rows: dict[ServerKey, EdgeVerdict | None] = {}

    def put(self, verdict: EdgeVerdict) -> None:
        self.rows[verdict.key] = verdict

    def spoil(self, key: ServerKey) -> None:
        self.rows[key] = None

    def find(self, key: ServerKey) -> EdgeVerdict | None:
        if key in self.rows and self.rows[key] is None:
            raise UnreadableVerdictError(str(key))
        return self.rows.get(key)


@dataclass
class MemorySpool:
    """Events in memory; `is_full` refuses them."""

    events: list[SpooledEvent] = field(default_factory=list)
    counts: Counter[bytes] = field(default_factory=Counter)
    is_full: bool = False

    def refused(self, client: bytes) -> int:
        return self.counts[client]

    def count_refused(self, client: bytes) -> None:
        self.counts[client] += 1

    def append(self, event: SpooledEvent, counted: bytes | None = None) -> bool:
        if not self.is_full:
            self.events.append(event)
            if counted is not None:
                del self.counts[counted]
        return not self.is_full

    def append_all(self, events: Sequence[SpooledEvent]) -> Sequence[SpooledEvent]:
        return [event for event in events if not self.append(event)]


class AnyConnectors:
    """Every client comes through `CONNECTOR`, unless a test says otherwise."""

    def __init__(self) -> None:
        self.connector: Connector | None = CONNECTOR

    def find(self, client: Client) -> Connector | None:
        return self.connector


@dataclass
class RecordedTelemetry:
    """What the door told."""

    answers: list[tuple[str, Decision]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)
    unmatched_messages: int = 0

    def answered(self, moment: str, decision: Decision, seconds: float) -> None:
        assert seconds >= 0
        self.answers.append((moment, decision))

    def unmatched(self) -> None:
        self.unmatched_messages += 1

    def event_lost(self, tenant_id: str, event_id: str) -> None:
        self.lost.append(event_id)

    def failed(self, where: str, error: Exception) -> None:
        self.failures.append((where, error))


class Doorway:
    """A door with all that a test looks at; `now` is its clock in UTC milliseconds."""

    def __init__(self, *, is_enforcing: bool = True, adds_header: bool = False) -> None:
        self.now = NOW
        self.verdicts, self.spool, self.connectors = MemoryVerdicts(), MemorySpool(), AnyConnectors()
        self.telemetry = RecordedTelemetry()
        self.told: list[InboundConnection] = []
        self.door = Door(
            self.connectors,
            self.verdicts,
            self.spool,
            self._encode,
            self.telemetry,
            host="edge1",
            is_enforcing=is_enforcing,
            adds_header=adds_header,
            clock=lambda: self.now,
        )

    def _encode(self, event: InboundConnection) -> bytes:
        self.told.append(event)
        return event.event_id.encode()


def standing_verdict(server: str, **changed: Any) -> EdgeVerdict:
    """A verdict that blocks every minute."""
    base = EdgeVerdict(
        "contoso", server, 1, 8, 0, 60, (), None, "450 4.7.230 later {minutes}", "550 5.7.230 no", None, is_mixed=False
    )
    return base._replace(**changed)
