"""One server from its detection on: connections of it, a run of the pure core over them, and what came out."""

from __future__ import annotations

from itertools import count

from streams.domain.outputs.server_report import ServerReport
from streams.domain.policy.policy import ConnectorType, Policy
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment

DETECTED = parse_moment("at", "2024-03-28T00:15:08.000Z")
OLD, GOOD = "15.1.2507.39", "15.1.2507.61"
POLICY = read_policy("microsoft-2026-09")
_ids = count()


def connection(
    at: int, build: str | None = OLD, host: str = "mx1.example.com", tenant: str = "contoso", event_id: str = ""
) -> InboundConnection:
    protocol = f"Microsoft SMTP Server id {build}" if build else "ESMTPS id 4Xq"
    return InboundConnection(
        event_id=event_id or f"event-{next(_ids)}",
        observed_at=at,
        tenant_id=tenant,
        connector_id="connector-1",
        connector_type=ConnectorType.ON_PREMISES,
        source_ip="192.0.2.1",
        helo="mx1.example.com",
        received=(f"from a.example by {host} with {protocol}; Thu, 28 Mar 2024 00:15:07 +0000",),
    )


def run(*steps: InboundConnection | int, policies: tuple[Policy, ...] = (POLICY,)) -> Simulation:
    simulation = Simulation(Rulebook(policies, shipped_catalogue()))
    for step in steps:
        if isinstance(step, int):
            simulation.advance(step)
        else:
            simulation.feed(step)
    return simulation


def kinds(simulation: Simulation) -> list[str]:
    return [row.kind.value for row in simulation.results.notifications]


def row(simulation: Simulation) -> ServerReport:
    (only,) = simulation.results.servers.values()
    return only
