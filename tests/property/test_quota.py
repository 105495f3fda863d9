"""Invariant 7 for any sequence of commands, measured at an edge and in the reports, never in the tenant's own state."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.domain.keys import ServerKey
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import Rulebook
from streams.domain.tenant.audit import CommandOutcome
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.time import DAY_MS, HOUR_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment
from tests.support.episodes import connection

START = parse_moment("start", "2027-10-20T00:00:00Z")
"""So that sequences pass a New Year that begins a leap year, and often the next one."""
SERVERS = ("mx1.example.com", "mx2.example.com", "mx3.example.com")
BASE = replace(
    read_policy("microsoft-2026-09"),
    policy_id="first",
    effective_at=datetime(2026, 1, 1, tzinfo=UTC),
    forget_after_days=4_000,
)
YEARS = range(2027, 2032)
Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Step:
    """A command `hours` after the one before, issued `late_hours` before its turn; `server` None for the tenant."""

    hours: float
    kind: CommandKind
    days: int
    server: str | None
    late_hours: float


PAUSES = (CommandKind.PAUSE_CREATE, CommandKind.PAUSE_SERVER, CommandKind.PAUSE_CANCEL)
HOURS = st.sampled_from((0.0, 1 / 3_600_000, 1.0, 23.0, 24.0)) | st.floats(0, 24 * 30)
STEPS = st.lists(
    st.builds(
        Step,
        hours=HOURS,
        kind=st.sampled_from(PAUSES),
        days=st.integers(1, 4) | st.integers(1, 130),
        server=st.none() | st.sampled_from(SERVERS),
        late_hours=st.just(0.0) | st.just(0.0) | HOURS,
    ),
    min_size=3,
    max_size=40,
)
SWITCHES = st.lists(st.tuples(st.integers(1, 500), st.sampled_from((0, 3, 30, 90, 120))), max_size=3)


def policies_of(switches: list[tuple[int, int]]) -> tuple[Policy, ...]:
    begin = datetime.fromtimestamp(START / 1000, UTC)
    later = dict(sorted(switches))
    return BASE, *(
        replace(
            BASE,
            version=number,
            effective_at=datetime.fromtimestamp(begin.timestamp() + day * 86_400, UTC),
            pause_days_per_year=quota,
        )
        for number, (day, quota) in enumerate(later.items(), 2)
    )


def union_ms(spans: Spans, year: int) -> int:
    """How much of a UTC calendar year the spans cover together."""
    begin, end = (round(datetime(one, 1, 1, tzinfo=UTC).timestamp() * 1000) for one in (year, year + 1))
    reached, total = begin, 0
    for starts_at, ends_at in sorted(spans):
        total += max(0, min(ends_at, end) - max(starts_at, reached))
        reached = max(reached, min(ends_at, end))
    return total


@dataclass
class Life:
    """What a sequence of commands did; `at_edge` the spans in which each server's verdicts said that it is paused."""

    simulation: Simulation
    at_edge: dict[str, Spans]

    def reported(self, server: str) -> Spans:
        """The spans that the server's row shows."""
        report = self.simulation.results.servers[ServerKey("contoso", server)]
        return [(begin, end) for begin, end in report.standstills]


def live(steps: list[Step], policies: tuple[Policy, ...]) -> Life:
    """Give the commands, each when its turn comes; the edge believes the last verdict of each server."""
    simulation = Simulation(Rulebook(policies, shipped_catalogue()))
    for server in SERVERS:
        simulation.feed(connection(START - DAY_MS, host=server))
    at_edge: dict[str, Spans] = {server: [] for server in SERVERS}
    now = START
    paused: dict[str, int] = {}
    for number, step in enumerate(steps):
        later = now + round(step.hours * HOUR_MS)
        for server, until in paused.items():
            at_edge[server].append((now, min(until, later)))
        now = later
        simulation.advance(now)
        is_server = step.kind is not CommandKind.PAUSE_CREATE
        simulation.command(
            AdminCommand(
                command_id=f"c{number}",
                tenant_id="contoso",
                issued_at=now - (round(step.late_hours * HOUR_MS) if number else 0),
                issued_by="admin",
                role=Role.TENANT_ADMIN,
                kind=step.kind,
                days=step.days,
                server=step.server if is_server else None,
            )
        )
        latest = {verdict.server: verdict.paused_until for verdict in simulation.results.verdicts}
        paused = {server: until for server, until in latest.items() if until is not None and until > now}
    for server, until in paused.items():
        at_edge[server].append((now, until))
    simulation.advance(START + 3 * 366 * DAY_MS)
    return Life(simulation, at_edge)


def cycle(days: int, times: int) -> list[Step]:
    """The tenant pauses, a server pauses under it for nothing, and then the tenant's pause is cancelled."""
    return [
        step
        for _ in range(times)
        for step in (
            Step(24.0, CommandKind.PAUSE_CREATE, days, None, 0.0),
            Step(23.0, CommandKind.PAUSE_SERVER, 1, SERVERS[0], 0.0),
            Step(1 / 60, CommandKind.PAUSE_CANCEL, 1, None, 0.0),
        )
    ]


OVER_NEW_YEAR = [
    Step(72.5 * 24, CommandKind.PAUSE_CREATE, 1, None, 0.0),
    Step(24.0, CommandKind.PAUSE_CREATE, 90, None, 0.0),
    Step(24.0, CommandKind.PAUSE_CREATE, 89, None, 0.0),
]
"""Half a day of the leap year 2028 belongs to 2027; with 90 more the year would hold half a day too much."""
LATE_CANCELS = [
    step
    for _ in range(40)
    for step in (
        Step(1.0, CommandKind.PAUSE_CREATE, 10, None, 0.0),
        Step(24.0 * 9, CommandKind.PAUSE_CANCEL, 1, SERVERS[0], 0.0),
        Step(0.0, CommandKind.PAUSE_CANCEL, 1, None, 24.0 * 9 - 1),
    )
]
"""Each gives back what the edge has honoured, where it is believed."""


@settings(max_examples=300, deadline=None)
@example(cycle(2, 90), [])
@example(OVER_NEW_YEAR, [])
@example(LATE_CANCELS, [])
@example(cycle(5, 60), [(20, 30)])
@given(STEPS, SWITCHES)
def test_invariant_7_no_year_holds_more_paused_time_than_the_quota(
    steps: list[Step], switches: list[tuple[int, int]]
) -> None:
    policies = policies_of(switches)
    most = max(policy.pause_days_per_year for policy in policies)
    life = live(steps, policies)
    for server in SERVERS:
        for year in YEARS:
            assert union_ms(life.at_edge[server], year) <= most * DAY_MS
            assert union_ms(life.reported(server), year) <= most * DAY_MS


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_the_days_left_are_whole_days_that_no_server_was_paused_in(steps: list[Step]) -> None:
    life = live(steps, (BASE,))
    last = life.simulation.results.audit[-1]
    year = datetime.fromtimestamp(last.occurred_at / 1000, UTC).year
    assert last.quota_left_days is not None
    assert 0 <= last.quota_left_days <= 90
    for server in SERVERS:
        assert union_ms(life.reported(server), year) <= (90 - last.quota_left_days) * DAY_MS


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_the_days_that_are_left_are_accepted_and_one_more_is_refused(steps: list[Step]) -> None:
    """A year has no hidden bound: what an audit record says is left can be had."""
    on_time = [replace(step, late_hours=0.0) for step in steps]
    life = live(on_time, (BASE,))
    begin = START + 3 * 366 * DAY_MS
    while datetime.fromtimestamp(begin / 1000, UTC).month != 1:
        begin += DAY_MS

    def ask(number: int, days: int) -> tuple[CommandOutcome, int | None]:
        fields = (f"last{number}", "contoso", begin, "admin", Role.TENANT_ADMIN, CommandKind.PAUSE_CREATE, days)
        life.simulation.command(AdminCommand(*fields))
        record = life.simulation.results.audit[-1]
        return record.outcome, record.quota_left_days

    assert ask(1, 91) == (CommandOutcome.REFUSED, 90)
    assert ask(2, 90) == (CommandOutcome.ACCEPTED, 0)


@pytest.mark.parametrize("late_hours", [0.0, 5.0])
def test_pauses_and_cancels_a_millisecond_apart_never_pause_more_than_they_cost(late_hours: float) -> None:
    steps = [
        Step(1 / 3_600_000, kind, 1, SERVERS[0], late_hours)
        for _ in range(200)
        for kind in (CommandKind.PAUSE_SERVER, CommandKind.PAUSE_CANCEL)
    ]
    life = live(steps, (BASE,))
    accepted = [record for record in life.simulation.results.audit if record.outcome is CommandOutcome.ACCEPTED]
    assert accepted
    for year in YEARS:
        assert union_ms(life.at_edge[SERVERS[0]], year) <= 90 * DAY_MS
    assert all(len(json.loads(record.after or "{}")["pauses"]) <= 32 for record in life.simulation.results.audit)
