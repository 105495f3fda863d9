"""Random sequences of connections, commands and ticks under policies that switch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from streams.domain.policy.policy import ConnectorType, Mode, Policy, Stage
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.time import DAY_MS, HOUR_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment

START = parse_moment("start", "2027-08-01T00:00:00Z")
BASE = read_policy("microsoft-2026-09")
BUILDS = ("15.1.2507.39", "15.1.2507.61", "15.2.1748.39", "15.2.1544.4", "14.3.123.4", "15.2.2562.17", None)
TENANTS = ("contoso", "fabrikam")


def server_name(number: int) -> str:
    return f"mx{number}.example.com"


@dataclass(frozen=True)
class Step:
    """What happens `hours` after the step before; `number` makes its id."""

    hours: float
    number: int
    tenant: str
    server: int
    kind: str
    build: str | None
    days: int
    late_hours: float

    def take(self, simulation: Simulation, now: int) -> None:
        if self.kind == "TICK":
            simulation.advance(now)
        elif self.kind == NOTHING:
            pass
        elif self.kind == "CONNECTION":
            simulation.feed(self.connection(now - round(self.late_hours * HOUR_MS)))
        else:
            simulation.command(self.command(now))

    def connection(self, at: int) -> InboundConnection:
        return connection(f"e{self.number}", at, self.tenant, self.server, self.build)

    def command(self, at: int) -> AdminCommand:
        return AdminCommand(
            command_id=f"c{self.number}",
            tenant_id=self.tenant,
            issued_at=at,
            issued_by="admin",
            role=Role.OPERATOR,
            kind=CommandKind(self.kind),
            days=self.days,
            server=None if self.kind == "PAUSE_CREATE" else server_name(self.server),
            owner="mail",
            reason="moves",
            build=self.build,
            expires_at=at + self.days * DAY_MS,
        )


def connection(event_id: str, at: int, tenant: str, server: int, build: str | None) -> InboundConnection:
    stamp = f"with Microsoft SMTP Server id {build}" if build else "with ESMTPS id 4Xq"
    return InboundConnection(
        event_id=event_id,
        observed_at=at,
        tenant_id=tenant,
        connector_id="c",
        connector_type=ConnectorType.ON_PREMISES,
        source_ip="192.0.2.1",
        helo="h",
        received=(f"from a by {server_name(server)} {stamp}; Mon",),
    )


NOTHING = "NOTHING"
KINDS = (
    *("CONNECTION",) * 8,
    *("TICK",) * 2,
    *("PAUSE_CREATE", "PAUSE_CREATE", "PAUSE_SERVER", "PAUSE_CANCEL", "EXCEPTION_GRANT", "EXCEPTION_REVOKE"),
    "OVERRIDE_BUILD",
)
STEPS = st.lists(
    st.builds(
        Step,
        hours=st.floats(0, 24 * 40) | st.just(0.0),
        number=st.integers(0, 40),
        tenant=st.sampled_from(TENANTS),
        server=st.integers(0, 1),
        kind=st.sampled_from(KINDS),
        build=st.sampled_from(BUILDS),
        days=st.integers(1, 90),
        late_hours=st.just(0.0) | st.floats(0, 72),
    ),
    min_size=1,
    max_size=20,
)


def policy_at(days: int, version: int, **changes: Any) -> Policy:
    effective_at = datetime.fromtimestamp(START / 1000, UTC) + timedelta(days=days)
    return replace(BASE, version=version, effective_at=effective_at, **changes)


SLOW = (Stage(0, 0, 0), Stage(60, 60, 0), Stage(70, 0, 60))
LENIENT = read_policy("microsoft-2023").products
POLICIES = st.sampled_from(
    [
        (policy_at(0, 1),),
        (policy_at(0, 1, products=LENIENT), policy_at(60, 2)),
        (policy_at(0, 1), policy_at(90, 2, products=LENIENT), policy_at(150, 3)),
        (policy_at(0, 1, mode=Mode.REPORT), policy_at(70, 2), policy_at(200, 3, mode=Mode.REPORT)),
        (policy_at(0, 1, cohort_percent=10), policy_at(50, 2, cohort_percent=60), policy_at(100, 3)),
        (policy_at(0, 1), policy_at(35, 2, ladder=SLOW), policy_at(110, 3, mode=Mode.REPORT), policy_at(140, 4)),
        (policy_at(0, 1), policy_at(45, 2, critical_patches=read_policy("strict-critical").critical_patches)),
    ]
)


def run(
    policies: tuple[Policy, ...], steps: list[Step], after: Callable[[Simulation, int], None] | None = None
) -> Simulation:
    simulation, now = Simulation(Rulebook(policies, shipped_catalogue())), START
    for step in steps:
        now += round(step.hours * HOUR_MS)
        step.take(simulation, now)
        if after is not None:
            after(simulation, now)
    simulation.advance(now + 45 * DAY_MS)
    return simulation
