"""Pauses and quota against a model that counts days one by one."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.domain.edge import action_at
from streams.domain.policy.ladder import Action
from streams.domain.policy.rulebook import Rulebook
from streams.domain.tenant.audit import CommandOutcome
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.tenant.quota import year_of
from streams.domain.time import DAY_MS, HOUR_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment
from tests.support.episodes import connection

START = parse_moment("start", "2027-09-01T00:00:00Z")
SERVERS = ("mx1.example.com", "mx2.example.com")


class Pauses(RuleBasedStateMachine):
    """Random commands as time passes; the model keeps the beginnings of charged days and the end of the pause."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.simulation = Simulation(Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue()))
        for server in SERVERS:
            self.simulation.feed(connection(self.now, host=server))
        self.number = 0
        self.charged: list[int] = []
        self.paused_until = 0

    def give(self, kind: CommandKind, days: int | None = None, server: str | None = None) -> CommandOutcome:
        self.number += 1
        self.simulation.command(
            AdminCommand(f"c{self.number}", "contoso", self.now, "admin", Role.TENANT_ADMIN, kind, days, server)
        )
        return self.simulation.results.audit[-1].outcome

    @rule(hours=st.integers(1, 24 * 40))
    def time_passes(self, hours: int) -> None:
        self.now += hours * HOUR_MS
        self.simulation.advance(self.now)

    @rule(days=st.integers(1, 200))
    def pause(self, days: int) -> None:
        begin = max(self.now, self.paused_until)
        wanted = [begin + day * DAY_MS for day in range(days)]
        per_year = Counter(map(year_of, [*self.charged, *wanted]))
        hours: Counter[int] = Counter(
            year_of(day + hour * HOUR_MS) for day in (*self.charged, *wanted) for hour in range(24)
        )
        fits = all(per_year[year_of(day)] <= 90 and hours[year_of(day + DAY_MS - 1)] <= 90 * 24 for day in wanted)
        outcome = self.give(CommandKind.PAUSE_CREATE, days)
        assert (outcome is CommandOutcome.ACCEPTED) == fits
        if fits:
            self.charged += wanted
            self.paused_until = begin + days * DAY_MS

    @rule()
    def cancel(self) -> None:
        runs = self.paused_until > self.now
        assert (self.give(CommandKind.PAUSE_CANCEL) is CommandOutcome.ACCEPTED) == runs
        if runs:
            self.charged = [day for day in self.charged if day < self.now]
            self.paused_until = self.now

    @invariant()
    def invariant_7_no_year_has_more_than_90_paused_days(self) -> None:
        tenant = self.simulation.tenants.get("contoso")
        used = Counter(map(year_of, self.charged))
        for year in (2027, 2028, 2029):
            assert used[year] <= 90
            assert (tenant.used_days(year) if tenant else 0) == used[year]

    @invariant()
    def invariant_3_a_paused_server_is_accepted(self) -> None:
        latest = {verdict.server: verdict for verdict in self.simulation.results.verdicts}
        for verdict in latest.values():
            if self.now < self.paused_until:
                assert verdict.paused_until == self.paused_until
                assert all(
                    action_at(verdict, self.now + minute * 60_000) is Action.ACCEPT
                    for minute in range(60)
                    if self.now + minute * 60_000 < self.paused_until
                )
            else:
                assert verdict.paused_until is None

    @invariant()
    def both_servers_have_the_same_dates(self) -> None:
        schedules = {
            verdict.server: [stage.starts_at for stage in verdict.schedule]
            for verdict in self.simulation.results.verdicts
        }
        assert schedules[SERVERS[0]] == schedules[SERVERS[1]]


TestPauses = Pauses.TestCase
TestPauses.settings = settings(max_examples=300, stateful_step_count=25, deadline=None)
