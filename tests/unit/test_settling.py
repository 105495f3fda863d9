"""What is remembered of pauses and exceptions that are over is bounded, and costs the quota what it did."""

from __future__ import annotations

import pytest

from streams.domain.policy.policy import MAX_LADDER_DAYS
from streams.domain.tenant.settling import KEPT_EXCEPTIONS, KEPT_PAUSES, settle, settle_subject
from streams.domain.tenant.state import ExceptionGrant, Pause, TenantEnforcement
from streams.domain.time import DAY_MS

NOW = 20_000 * DAY_MS
SERVER = "mx1.example.com"
OVER = tuple(Pause(day * DAY_MS, day * DAY_MS + 100) for day in range(15_000, 15_000 + KEPT_PAUSES + 3))


def stood(pauses: tuple[Pause, ...]) -> int:
    return sum(pause.ends_at - pause.starts_at for pause in pauses)


@pytest.mark.parametrize("server", [None, SERVER])
def test_of_more_pauses_than_are_kept_the_oldest_become_one_as_long(server: str | None) -> None:
    still = Pause(NOW - 1, NOW + 1)
    given = (*OVER, still)
    tenant = (
        TenantEnforcement("contoso", NOW, pauses=given)
        if server is None
        else TenantEnforcement("contoso", NOW, server_pauses={SERVER: given})
    )
    settled = settle_subject(tenant, server)
    kept = settled.pauses if server is None else settled.server_pauses[SERVER]
    assert len(kept) == KEPT_PAUSES + 1
    assert stood(kept) == stood(given)
    assert kept[0].ends_at == OVER[3].ends_at
    assert kept[1:] == given[4:]


def test_of_a_servers_exceptions_the_same_number_is_kept() -> None:
    given = tuple(ExceptionGrant(day * DAY_MS, day * DAY_MS + 100, "o", str(day)) for day in range(KEPT_EXCEPTIONS + 1))
    tenant = settle_subject(TenantEnforcement("contoso", NOW, exceptions={SERVER: given}), SERVER)
    assert len(tenant.exceptions[SERVER]) == KEPT_EXCEPTIONS
    assert tenant.exceptions[SERVER][-1] == given[-1]


def test_a_servers_pause_that_is_over_goes_where_one_of_the_tenant_covers_it() -> None:
    own = Pause(100, 200), Pause(250, 400)
    tenant = TenantEnforcement("contoso", NOW, pauses=(Pause(50, 300),), server_pauses={SERVER: own})
    assert settle_subject(tenant, SERVER).server_pauses == {SERVER: own[1:]}


def test_what_was_over_longer_ago_than_any_ladder_lasts_is_dropped() -> None:
    earliest = NOW - MAX_LADDER_DAYS * DAY_MS
    old, kept = Pause(0, earliest), Pause(0, earliest + 1)
    grants = ExceptionGrant(0, earliest, "o", "old"), ExceptionGrant(0, earliest + 1, "o", "kept")
    tenant = settle(
        TenantEnforcement(
            "contoso",
            NOW,
            pauses=(old, kept),
            server_pauses={SERVER: (old, kept), "gone.example.com": (old,)},
            exceptions={SERVER: grants, "gone.example.com": grants[:1]},
        )
    )
    assert tenant.pauses == (kept,)
    assert tenant.server_pauses == {SERVER: (kept,)}
    assert tenant.exceptions == {SERVER: grants[1:]}
