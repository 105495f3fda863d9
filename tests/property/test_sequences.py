"""The invariants over random sequences of connections, commands, policies and ticks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.edge import action_at
from streams.domain.keys import ServerKey
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.judgement import Finding
from streams.domain.policy.ladder import Action, ClockStop
from streams.domain.policy.policy import Mode, Policy
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.effective import effective_enforcement
from streams.domain.server.rules import ServerRules
from streams.domain.tenant.quota import year_of
from streams.domain.tenant.waivers import NO_WAIVERS
from streams.domain.time import DAY_MS, HOUR_MS
from streams.domain.whatif import predict, with_policy
from streams.policies.catalogue.files import shipped_catalogue
from streams.service.simulation import Simulation
from streams.wire.records import to_json_line, to_record
from streams.wire.server_report import report_of_record
from tests.support.sequences import (
    LENIENT,
    NOTHING,
    POLICIES,
    START,
    STEPS,
    Step,
    connection,
    policy_at,
    run,
    server_name,
)

OTHERS = st.sampled_from((policy_at(0, 9), policy_at(0, 9, products=LENIENT), policy_at(0, 9, mode=Mode.REPORT)))


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
    before: dict[ServerKey, tuple[int, int | None]] = {}
    for verdict in run(policies, steps).results.verdicts:
        key = verdict.key
        if verdict.stage and key in before:
            stage, detected_at = before[key]
            assert verdict.detected_at != detected_at or verdict.stage >= stage
        if verdict.stage:
            before[key] = (verdict.stage, verdict.detected_at)
        if not verdict.finding.is_enforced:
            assert (verdict.action, verdict.stage, verdict.schedule) == (Action.ACCEPT, 0, ())
        if verdict.finding is Finding.COMPLIANT:
            assert verdict.smtp_reply_block is None


def latest(simulation: Simulation) -> dict[ServerKey, Verdict]:
    return {verdict.key: verdict for verdict in simulation.results.verdicts}


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
    # A tick is nobody's: it moves the clock of all.
    alone = [step if step.tenant == "contoso" or step.kind == "TICK" else replace(step, kind=NOTHING) for step in steps]

    def of(simulation: Simulation) -> list[bytes]:
        results = simulation.results
        every: list[Any] = [*results.verdicts, *results.notifications, *results.audit, *results.servers.values()]
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
