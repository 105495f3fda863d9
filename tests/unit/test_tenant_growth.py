"""Whatever commands come, a tenant's row, its audit records and the work per command stay as they were."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from streams.domain.keys import ServerKey
from streams.domain.tenant.apply import SEEN_COMMANDS
from streams.domain.tenant.audit import CommandOutcome
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.tenant.settling import KEPT_PAUSES
from streams.domain.tenant.state import MAX_KEPT_BYTES
from streams.domain.time import DAY_MS
from streams.service.simulation import Simulation
from streams.state.tenant_row import encode_tenant
from streams.wire.records import to_json_line, to_record
from tests.support.episodes import DETECTED, connection, run

pytestmark = pytest.mark.no_cover
SERVER = "mx1.example.com"
PAIRS = 2_800
MAX_ROW_BYTES = 400_000

Give = Callable[..., None]


class Lives:
    """Gives commands one after the other and measures each: lines executed, bytes of the row and of the record."""

    def __init__(self, servers: int = 1) -> None:
        self.simulation: Simulation = run(
            *(connection(DETECTED, host=f"mx{number + 1}.example.com") for number in range(servers))
        )
        self.number = 0
        self.at = DETECTED

    def give(self, kind: CommandKind, server: str | None = SERVER, **fields: Any) -> None:
        self.number += 1
        self.at += 1
        given: dict[str, Any] = {
            "owner": "mail",
            "reason": "moves",
            "expires_at": self.at + 300 * DAY_MS,
            "days": 1,
        } | fields
        self.simulation.command(
            AdminCommand(
                command_id=f"c{self.number}",
                tenant_id="contoso",
                issued_at=given.pop("issued_at", self.at),
                issued_by="admin",
                role=Role.OPERATOR,
                kind=kind,
                server=server,
                **given,
            )
        )
        # What was emitted is the topics', not the service's.
        results = self.simulation.results
        results.verdicts, results.notifications = results.verdicts[-1:], results.notifications[-1:]
        results.audit = results.audit[-1:]

    def sizes(self, give: Callable[[], None]) -> tuple[int, int, int]:
        """Lines executed by some commands, bytes of the row and of the last audit record after them."""
        lines = 0

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal lines
            lines += event == "line"
            return trace

        known = sys.gettrace()
        sys.settrace(trace)
        try:
            give()
        finally:
            sys.settrace(known)
        row = encode_tenant(self.simulation.tenants["contoso"], None)
        return lines, len(row), len(to_json_line(to_record(self.simulation.results.audit[-1])))


def server_pauses(lives: Lives) -> None:
    lives.give(CommandKind.PAUSE_SERVER)
    lives.give(CommandKind.PAUSE_CANCEL)


def tenant_pauses(lives: Lives) -> None:
    lives.give(CommandKind.PAUSE_CREATE, None)
    lives.give(CommandKind.PAUSE_CANCEL, None)


def exceptions(lives: Lives) -> None:
    lives.give(CommandKind.EXCEPTION_GRANT)
    lives.give(CommandKind.EXCEPTION_REVOKE)


def exceptions_again(lives: Lives) -> None:
    lives.give(CommandKind.EXCEPTION_GRANT, owner=f"mail{lives.number}")
    lives.give(CommandKind.EXCEPTION_GRANT, expires_at=lives.at + 2)


def late_pauses(lives: Lives) -> None:
    issued_at = DETECTED + 10 * DAY_MS - 3 * lives.number
    lives.give(CommandKind.PAUSE_SERVER, issued_at=issued_at)
    lives.give(CommandKind.PAUSE_CANCEL, issued_at=issued_at + 1)


def overrides(lives: Lives) -> None:
    lives.give(CommandKind.OVERRIDE_BUILD, build="15.1.2507.61")
    lives.give(CommandKind.PAUSE_CANCEL)


CYCLES = [server_pauses, tenant_pauses, exceptions, exceptions_again, late_pauses, overrides]


@pytest.mark.parametrize("is_under_a_pause", [False, True])
@pytest.mark.parametrize("cycle", CYCLES)
def test_pairs_of_commands_a_millisecond_apart_leave_row_and_work_flat(
    cycle: Callable[[Lives], None], is_under_a_pause: bool
) -> None:
    lives = Lives()
    if is_under_a_pause:
        lives.give(CommandKind.PAUSE_CREATE, None, days=60)
    # Ninety pairs use a year's quota up, 32 exceptions reach their bound, and half of SEEN_COMMANDS the ids that are
    # remembered: behind these each pair finds the state as the one before did, so that more of them show nothing new.
    settled = SEEN_COMMANDS // 2 + 450
    for _ in range(settled):
        cycle(lives)
    before = lives.sizes(lambda: cycle(lives))
    for _ in range(PAIRS - settled):
        cycle(lives)
    after = lives.sizes(lambda: cycle(lives))
    assert before[0] > 100
    for now, earlier, name in zip(after, before, ("lines", "row", "audit"), strict=True):
        assert now <= earlier * 1.02 + 100, name
    assert after[1] < MAX_ROW_BYTES


def test_pauses_of_many_years_are_kept_in_a_bounded_number() -> None:
    lives = Lives()
    kept, lines = [], []
    for _ in range(KEPT_PAUSES // 90 + 3):
        for _ in range(90):
            server_pauses(lives)
        lines.append(lives.sizes(lambda: server_pauses(lives))[0])
        kept.append(len(lives.simulation.tenants["contoso"].server_pauses[SERVER]))
        lives.at += 365 * DAY_MS
        lives.simulation.feed(connection(lives.at))  # so that it is not forgotten
    assert kept[0] == 90
    assert kept[-2:] == [KEPT_PAUSES, KEPT_PAUSES]
    assert lines[-1] == lines[-2]


def test_pauses_of_very_many_servers_are_refused_where_they_would_take_too_much() -> None:
    """Under a pause of the tenant they cost nothing: only their number is bounded, and the refusal says so."""
    count = 1_500
    lives = Lives(count)
    lives.give(CommandKind.PAUSE_CREATE, None, days=60)
    outcomes = []
    for number in range(count):
        lives.give(CommandKind.EXCEPTION_GRANT, f"mx{number + 1}.example.com", reason="x" * 900)
        outcomes.append(lives.simulation.results.audit[-1].outcome)
    refused = lives.simulation.results.audit[-1]
    assert refused.outcome is CommandOutcome.REFUSED
    assert f"at most {MAX_KEPT_BYTES} are kept" in str(refused.reason)
    first = outcomes.index(CommandOutcome.REFUSED)
    assert first > 200
    assert set(outcomes[first:]) == {CommandOutcome.REFUSED}
    assert len(encode_tenant(lives.simulation.tenants["contoso"], None)) < MAX_ROW_BYTES
    lives.give(CommandKind.EXCEPTION_REVOKE, "mx1.example.com")
    assert lives.simulation.results.audit[-1].outcome is CommandOutcome.ACCEPTED
    lives.give(CommandKind.PAUSE_CANCEL, None)
    assert lives.simulation.results.audit[-1].outcome is CommandOutcome.ACCEPTED


def entries(simulation: Simulation) -> Iterator[str]:
    tenant = simulation.tenants["contoso"]
    yield from tenant.server_pauses
    yield from tenant.exceptions


def test_a_forgotten_server_takes_its_pauses_and_exceptions_along_and_the_year_keeps_what_they_cost() -> None:
    lives = Lives(2)
    for _ in range(3):
        server_pauses(lives)
        exceptions(lives)
    lives.simulation.advance(DETECTED + 20 * DAY_MS)
    assert list(entries(lives.simulation)) == [SERVER, SERVER]
    used = lives.simulation.tenants["contoso"].used_days(2024)
    lives.simulation.advance(DETECTED + 402 * DAY_MS)
    assert lives.simulation.server(ServerKey("contoso", SERVER)) is None
    assert list(entries(lives.simulation)) == []
    assert lives.simulation.tenants["contoso"].used_days(2024) == used == 3
