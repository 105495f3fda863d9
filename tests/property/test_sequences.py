"""The invariants over random sequences of connections, commands, policies and ticks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.edge import action_at
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.judgement import Finding
from streams.domain.policy.ladder import Action, ClockStop
from streams.domain.policy.policy import ConnectorType, Mode, Policy, Stage
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.server.effective import effective_enforcement
from streams.domain.server.rules import ServerRules
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.tenant.quota import year_of
from streams.domain.tenant.waivers import NO_WAIVERS
from streams.domain.time import DAY_MS, HOUR_MS
from streams.domain.whatif import predict, with_policy
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment, to_json_line, to_record
from streams.wire.server_report import report_of_record

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


OTHERS = st.sampled_from((policy_at(0, 9), policy_at(0, 9, products=LENIENT), policy_at(0, 9, mode=Mode.REPORT)))


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


def lines(simulation: Simulation) -> list[bytes]:
    results = simulation.results
    rows = [*results.verdicts, *results.notifications, *results.audit, *results.servers.values()]
    return [to_json_line(to_record(row)) for row in rows]


@settings(max_examples=160, deadline=None)
@given(POLICIES, STEPS)
def test_invariant_1_and_5_the_same_input_gives_the_same_bytes_also_when_it_comes_twice(
    policies: tuple[Policy, ...], steps: list[Step]
) -> None:
    once = run(policies, steps)
    assert lines(run(policies, steps)) == lines(once)
    now = START
    twice = Simulation(Rulebook(policies, shipped_catalogue()))
    for step in steps:
        now += round(step.hours * HOUR_MS)
        step.take(twice, now)
        step.take(twice, now)
    twice.advance(now + 45 * DAY_MS)
    assert lines(twice) == lines(once)


@settings(max_examples=160, deadline=None)
@given(POLICIES, STEPS)
def test_invariant_2_stages_never_go_back_and_compliant_servers_are_never_touched(
    policies: tuple[Policy, ...], steps: list[Step]
) -> None:
    before: dict[tuple[str, str], tuple[int, int | None]] = {}
    for verdict in run(policies, steps).results.verdicts:
        key = (verdict.tenant_id, verdict.server)
        if verdict.stage and key in before:
            stage, detected_at = before[key]
            assert verdict.detected_at != detected_at or verdict.stage >= stage
        if verdict.stage:
            before[key] = (verdict.stage, verdict.detected_at)
        if not verdict.finding.is_enforced:
            assert (verdict.action, verdict.stage, verdict.schedule) == (Action.ACCEPT, 0, ())
        if verdict.finding is Finding.COMPLIANT:
            assert verdict.smtp_reply_block is None


def latest(simulation: Simulation) -> dict[tuple[str, str], Verdict]:
    return {(verdict.tenant_id, verdict.server): verdict for verdict in simulation.results.verdicts}


@settings(max_examples=160, deadline=None)
@given(POLICIES, STEPS)
def test_invariant_3_paused_and_exempt_servers_are_accepted_at_every_minute(
    policies: tuple[Policy, ...], steps: list[Step]
) -> None:
    def check(simulation: Simulation, now: int) -> None:
        simulation.advance(now)
        for (tenant_id, server), verdict in latest(simulation).items():
            tenant = simulation.tenants.get(tenant_id)
            until = tenant.waivers_of(server).until(now) if tenant else None
            if until is not None:
                moments = [now, (now + until) // 2, until - 1, *(now + minute * 60_000 for minute in range(60))]
                for moment in moments:
                    assert moment >= until or action_at(verdict, moment) is Action.ACCEPT

    run(policies, steps, check)


@settings(max_examples=160, deadline=None)
@given(POLICIES, STEPS)
def test_invariant_4_rows_and_notices_show_the_dates_of_the_schedule(
    policies: tuple[Policy, ...], steps: list[Step]
) -> None:
    simulation = run(policies, steps)
    verdicts = latest(simulation)
    for key, row in simulation.results.servers.items():
        if key in verdicts and row.verdict_revision == verdicts[key].revision:
            assert row.schedule == verdicts[key].schedule
        # What comes next for the administrator is a stage, not an end of enforcement in between.
        begins = [item for item in row.schedule if item.throttle_minutes_per_hour or item.block_minutes_per_hour]
        known = {item.starts_at for item in begins} | {
            item.starts_at for item in row.schedule if item.stage > row.stage
        }
        assert row.next_stage_start_date == min(known, default=None)
    by_moment = {
        (verdict.tenant_id, verdict.server, stage.stage, stage.starts_at)
        for verdict in simulation.results.verdicts
        for stage in verdict.schedule
    }
    for note in simulation.results.notifications:
        if note.kind == "STAGE_UPCOMING":
            assert (note.tenant_id, note.server, note.stage, note.next_stage_at) in by_moment


def paused_days(spans: list[ClockStop], year: int) -> float:
    begin = round(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000)
    end = round(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp() * 1000)
    reached, total = begin, 0
    for starts_at, ends_at in sorted(spans):
        total += max(0, min(ends_at, end) - max(starts_at, reached))
        reached = max(reached, min(ends_at, end))
    return total / DAY_MS


@settings(max_examples=160, deadline=None)
@given(STEPS)
def test_invariant_7_no_server_is_paused_for_more_than_the_quota_of_a_year(steps: list[Step]) -> None:
    simulation = run((policy_at(0, 1),), steps)
    for tenant in simulation.tenants.values():
        for server in (server_name(0), server_name(1)):
            spans = list(tenant.waivers_of(server).pauses)
            for year in sorted({year_of(moment) for span in spans for moment in span}):
                assert tenant.used_days(year) <= 90
                assert paused_days(spans, year) <= 90


@settings(max_examples=160, deadline=None)
@given(POLICIES, STEPS)
def test_invariant_8_tenants_never_influence_each_other(policies: tuple[Policy, ...], steps: list[Step]) -> None:
    alone = [step if step.tenant == "contoso" else replace(step, kind=NOTHING) for step in steps]

    def of(simulation: Simulation) -> list[bytes]:
        results = simulation.results
        every = [*results.verdicts, *results.notifications, *results.audit, *results.servers.values()]
        return sorted(to_json_line(to_record(row)) for row in every if row.tenant_id == "contoso")

    assert of(run(policies, steps)) == of(run(policies, alone))


@settings(max_examples=160, deadline=None)
@given(POLICIES, STEPS, st.lists(st.floats(0, 24 * 200), max_size=30))
def test_invariant_11_what_is_told_does_not_depend_on_when_the_clock_was_looked_at(
    policies: tuple[Policy, ...], steps: list[Step], ticks: list[float]
) -> None:
    on_time = [replace(step, late_hours=0.0) for step in steps if step.kind != "TICK"]
    moments = sorted(START + round(hours * HOUR_MS) for hours in ticks)
    live, now = Simulation(Rulebook(policies, shipped_catalogue())), START
    for step in on_time:
        now += round(step.hours * HOUR_MS)
        while moments and moments[0] < now:
            live.advance(moments.pop(0))
        step.take(live, now)
    live.advance(now + 45 * DAY_MS)

    def told(simulation: Simulation) -> list[bytes]:
        results = simulation.results
        return sorted(to_json_line(to_record(row)) for row in (*results.verdicts, *results.notifications))

    assert told(live) == told(run(policies, on_time))


@settings(max_examples=160, deadline=None)
@given(POLICIES, STEPS, OTHERS, st.sampled_from((HOUR_MS, HOUR_MS + 1, 10 * DAY_MS)))
def test_a_what_if_says_what_then_happens(
    policies: tuple[Policy, ...], steps: list[Step], other: Policy, after: int
) -> None:
    now = START + sum(round(step.hours * HOUR_MS) for step in steps)
    # A row may be an hour old; then it shows what the server shows.
    at = now + 1 + after
    switched = with_policy(policies, other, datetime.fromtimestamp(at / 1000, UTC))
    then = run_until(switched, steps, at)
    rulebook, catalogue = Rulebook(policies, shipped_catalogue()), shipped_catalogue()
    predicted = {}
    for row in before_rows(policies, steps, at - 1):
        found = predict(row, rulebook, Rulebook(switched, catalogue), at)
        predicted[found.tenant_id, found.server] = found.after
    for number, ((tenant_id, server), state) in enumerate(sorted(then.states.items())):
        if state.build is not None:
            host = int(server.removeprefix("mx").partition(".")[0])
            then.feed(connection(f"next{number}", at, tenant_id, host, str(state.build)))
    rows = {}
    for (tenant_id, server), state in then.states.items():
        tenant = then.tenants.get(tenant_id)
        waivers = tenant.waivers_of(server) if tenant else NO_WAIVERS
        standing = effective_enforcement(state, ServerRules(Rulebook(switched, catalogue), waivers), at)
        rows[tenant_id, server] = (state.finding, state.displayed_stage, standing.action)
    assert {key: tuple(outlook) for key, outlook in predicted.items()} == rows


def run_until(policies: tuple[Policy, ...], steps: list[Step], until: int) -> Simulation:
    simulation, now = Simulation(Rulebook(policies, shipped_catalogue())), START
    for step in steps:
        now += round(step.hours * HOUR_MS)
        step.take(simulation, now)
    simulation.advance(until)
    return simulation


def before_rows(policies: tuple[Policy, ...], steps: list[Step], until: int) -> list[Any]:
    simulation = run_until(policies, steps, until)
    return [report_of_record(to_record(row)) for row in simulation.results.servers.values()]
