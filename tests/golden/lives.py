"""What is told of a few servers over a year, word for word: every verdict, notification and row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from streams.domain.outputs.server_report import ServerReport
from streams.domain.policy.policy import ConnectorType, CriticalPatches
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection, Outcome
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.time import DAY_MS, HOUR_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.policy import from_millis
from streams.wire.records import parse_moment, to_json_line, to_record

START = parse_moment("start", "2026-09-10T06:00:00Z")
OLD, OLDER, GOOD, NEW = "15.1.2507.39", "15.1.2507.23", "15.1.2507.61", "15.1.2507.69"
FIRST = replace(read_policy("microsoft-2026-09"), published_at=from_millis(START - 100 * DAY_MS))
SECOND = replace(
    FIRST,
    policy_id="second",
    effective_at=from_millis(START + 150 * DAY_MS),
    published_at=from_millis(START + 140 * DAY_MS),
    critical_patches=CriticalPatches(grace_days=30, known_exploited_only=False),
)
Step = tuple[float, InboundConnection | AdminCommand]


def lives() -> dict[str, Any]:
    """Of each kind of record how many there are, a checksum of all, and in full the first of each sort."""
    simulation = Simulation(Rulebook((FIRST, SECOND), shipped_catalogue()))
    found = simulation.results
    rows: list[ServerReport] = []
    for day, step in sorted(_steps(), key=lambda item: item[0]):
        simulation.advance(_at(day))
        if isinstance(step, AdminCommand):
            simulation.command(step)
        else:
            simulation.feed(step)
        rows += found.servers.values()
    simulation.advance(_at(600))
    return {
        "notifications": _summary(found.notifications, "kind"),
        "servers": _summary(rows, "status"),
        "verdicts": _summary(found.verdicts, "action"),
    }


def _summary(records: Iterable[Any], sort: str) -> dict[str, Any]:
    lines = [to_json_line(to_record(record)) for record in dict.fromkeys(records)]
    first: dict[str, Any] = {}
    for record in map(json.loads, lines):
        first.setdefault(record[sort], record)
    return {"lines": len(lines), "sha256": hashlib.sha256(b"".join(lines)).hexdigest(), "first": first}


def _at(day: float) -> int:
    return START + round(day * DAY_MS)


def _steps() -> list[Step]:
    found: list[Step] = []

    def seen(host: str, day: float, build: str | None, machine: int = 1, **fields: Any) -> None:
        stamp = f"Microsoft SMTP Server id {build}" if build else "ESMTPS id 4Xq"
        line = f"from a.example (10.0.1.{machine}) by {host} (10.0.0.{machine}) with {stamp}; x"
        known: dict[str, Any] = {"received": (line,), "connector_type": ConnectorType.ON_PREMISES, **fields}
        connection = InboundConnection(
            event_id=f"{host}-{day}",
            observed_at=_at(day),
            tenant_id="contoso",
            connector_id="connector",
            source_ip=f"192.0.2.{machine}",
            helo=host,
            message_id=f"<{day}@{host}>",
            **known,
        )
        found.append((day, connection))

    def told(kind: CommandKind, day: float, **fields: Any) -> None:
        role = Role.OPERATOR if kind in (CommandKind.EXCEPTION_GRANT, CommandKind.OVERRIDE_BUILD) else Role.TENANT_ADMIN
        found.append((day, AdminCommand(f"{kind.value}-{day}", "contoso", _at(day), "admin", role, kind, **fields)))

    for number in (0, 20, 40, 70, 95, 120):
        seen("full.example", number, OLD, outcome=Outcome.ACCEPTED if number < 95 else Outcome.REJECTED)
    seen("full.example", 121, GOOD)
    seen("full.example", 130, OLDER, outcome=Outcome.DEFERRED)
    for day, build, machine in (
        (0, OLD, 1),
        (35, OLD, 1),
        (36, GOOD, 2),
        (36.5, OLD, 1),
        (37, GOOD, 2),
        (37.5, OLD, 1),
    ):
        seen("mixed.example", day, build, machine)
    for day in (0, 45, 60):
        seen("waived.example", day, OLD)
    told(CommandKind.PAUSE_SERVER, 41, days=10, server="waived.example", reason="moves")
    told(CommandKind.EXCEPTION_GRANT, 58, server="waived.example", owner="mail", reason="moves", expires_at=_at(80))
    seen("overridden.example", 0, None)
    told(CommandKind.OVERRIDE_BUILD, 1, server="overridden.example", build=OLD, reason="stamp", expires_at=_at(50))
    seen("overridden.example", 2, None)
    seen("announced.example", 100, GOOD)
    seen("announced.example", 155, GOOD)
    for day in range(32):
        seen("gateway.example", day, None if day else OLD)
    for host, build in (("good.example", NEW), ("unknown.example", "99.1.2.3"), ("online.example", "15.20.9009.0")):
        seen(host, 0, build)
    seen("unsupported.example", 0, "15.0.1497.48")
    seen("partner.example", 0, OLD, connector_type=ConnectorType.PARTNER)
    seen("silent.example", 0, None, received=())
    seen("half.example", 0, NEW, machine=3)
    seen("half.example", 0.5 + HOUR_MS / DAY_MS, GOOD, machine=3)
    return found
