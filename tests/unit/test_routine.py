"""The rule that says which connections may be counted without a decision, against what `decide` does with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.domain.exchange.build import Build, parse_build
from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.server.decide import decide
from streams.domain.server.routine import may_be_routine, may_be_routine_of_mixed, routine_until
from streams.domain.server.sighting import detect_server
from streams.domain.server.stamps import Stamp, highest_held, is_held_above
from streams.domain.server.state import ServerEnforcement, add_fingerprint, fingerprint
from streams.domain.time import DAY_MS, HOUR_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.wire.records import parse_moment

NOON = parse_moment("noon", "2026-10-01T12:00:00Z")
FAR = NOON + 30 * DAY_MS
RULEBOOK = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
BUILD, LOWER = parse_build("15.1.2507.61"), parse_build("15.1.2507.39")

SERVER: dict[str, Any] = {
    "next_due": FAR,
    "judged_at": NOON + 1,
    "reported_at": NOON,
    "verdict_issued_at": NOON,
    "is_known": True,
    "has_vanished": False,
    "is_verdict_due": False,
    "is_overridden": False,
}
"""A server that was reported at noon."""
CONNECTION: dict[str, Any] = {
    "observed_at": NOON + 60_000,
    "connector_type": 0,
    "build": BUILD,
    "judged_connector_type": 0,
    "judged_build": BUILD,
    "judged_at": NOON + 1,
    "last_seen_at": NOON + 1,
    "reported_at": NOON,
    "until": NOON + HOUR_MS,
    "switched_at": NOON - DAY_MS,
}
"""An ordinary connection of that server."""


def connection(at: int, build: Build = BUILD, **fields: Any) -> InboundConnection:
    line = f"from a by mx.example.com with Microsoft SMTP Server id {build}; x"
    known: dict[str, Any] = {
        "event_id": f"e{at}",
        "observed_at": at,
        "tenant_id": "t",
        "connector_id": "c",
        "connector_type": ConnectorType.ON_PREMISES,
        "source_ip": "192.0.2.1",
        "helo": "h",
        "received": (line,),
    }
    return InboundConnection(**known | fields)


def decided(state: ServerEnforcement | None, event: InboundConnection) -> tuple[ServerEnforcement, int, int]:
    """The next state, its next due moment, and how many records were emitted."""
    decision = decide(state, detect_server(event), RULEBOOK, event.observed_at)
    assert decision.state is not None
    assert decision.due_at is not None
    return decision.state, decision.due_at, len(decision.emitted)


# --- until when ---


def test_connections_are_routine_for_an_hour_after_a_report() -> None:
    assert routine_until(**SERVER) == NOON + HOUR_MS


@pytest.mark.parametrize("name", ["has_vanished", "is_overridden"])
def test_a_server_about_which_the_next_connection_may_decide_has_no_routine(name: str) -> None:
    assert routine_until(**SERVER | {name: True}) == 0


def test_the_first_connection_of_a_server_is_decided() -> None:
    assert routine_until(**SERVER | {"is_known": False}) == 0


def test_routine_ends_when_a_timer_is_due() -> None:
    assert routine_until(**SERVER | {"next_due": NOON + 5}) == NOON + 5


def test_routine_ends_with_the_day_of_the_last_decision() -> None:
    midnight = NOON + 12 * HOUR_MS
    late = {"judged_at": midnight - 1, "reported_at": midnight - 2}
    assert routine_until(**SERVER | late) == midnight
    assert routine_until(**SERVER | late | {"judged_at": midnight}) == midnight - 2 + HOUR_MS


def test_routine_ends_when_a_verdict_may_follow_only_where_one_is_due() -> None:
    waiting = SERVER | {"verdict_issued_at": NOON - DAY_MS + 5}
    assert routine_until(**waiting | {"is_verdict_due": True}) == NOON + 5
    assert routine_until(**waiting) == NOON + HOUR_MS


# --- which connections ---


def test_an_ordinary_connection_is_routine() -> None:
    assert may_be_routine(**CONNECTION)


def test_a_server_that_was_judged_at_a_switch_was_judged_by_what_began_then() -> None:
    assert may_be_routine(**CONNECTION | {"switched_at": NOON + 1})


@pytest.mark.parametrize(
    "different",
    [
        {"observed_at": NOON},
        {"observed_at": NOON + HOUR_MS},
        {"connector_type": 1},
        {"switched_at": NOON + 2},
        {"build": None},
        {"judged_build": None},
        {"last_seen_at": NOON + 60_000},
        {"judged_at": NOON + 60_001},
    ],
    ids=[
        "at the last report",
        "at the bound",
        "over another connector",
        "judged before a switch",
        "a gateway's, of a known build",
        "with a build, of a gateway",
        "at the same moment as the last one",
        "later than seen, before the last decision",
    ],
)
def test_a_connection_that_may_decide_is_not_routine(different: dict[str, Any]) -> None:
    assert not may_be_routine(**CONNECTION | different)


def test_another_build_is_asked_for_its_stamp_or_late() -> None:
    assert may_be_routine(**CONNECTION | {"build": LOWER})
    late = CONNECTION | {"last_seen_at": NOON + 90_000, "judged_at": NOON + 90_000}
    assert may_be_routine(**late)
    assert may_be_routine(**late | {"build": LOWER})
    assert not may_be_routine(**late | {"build": None})


@pytest.mark.parametrize(
    ("noted_at", "switched_at", "is_routine"),
    [
        (NOON, NOON - DAY_MS, True),
        (NOON, NOON, True),
        (NOON, NOON + 1, False),
        (NOON - 12 * HOUR_MS, NOON - DAY_MS, True),
        (NOON - 12 * HOUR_MS - 1, NOON - DAY_MS, False),
        (None, NOON - DAY_MS, False),
    ],
    ids=["today", "at a switch", "before a switch", "at midnight", "the day before", "never"],
)
def test_a_build_of_a_mixed_server_is_routine_where_it_was_noted_under_the_same_rules_that_day(
    noted_at: int | None, switched_at: int, is_routine: bool
) -> None:
    assert may_be_routine_of_mixed(NOON + 60_000, noted_at, switched_at) is is_routine


def test_a_gateways_connection_is_routine_for_a_gateway() -> None:
    assert may_be_routine(**CONNECTION | {"build": None, "judged_build": None})


# --- what is decided about them ---


@pytest.mark.parametrize("is_first", [True, False])
def test_deciding_about_a_routine_connection_emits_nothing_and_only_counts(is_first: bool) -> None:
    state, due_at, emitted = decided(None, connection(NOON))
    assert emitted
    if not is_first:
        state, due_at, _ = decided(state, connection(NOON + 1))
    assert state.is_report_due is not is_first
    at = NOON + 60_000
    until = routine_until(
        *(due_at, state.judged_at, state.reported_at, state.verdict_issued_at),
        *(True, state.has_vanished, state.is_verdict_due, False),
    )
    assert until == NOON + HOUR_MS
    after, due_after, emitted = decided(state, connection(at))
    assert emitted == 0
    assert due_after == NOON + HOUR_MS
    assert after == replace(
        state,
        is_report_due=True,
        connections=state.connections + 1,
        last_seen_at=at,
        judged_at=at,
        clock_at=at,
        exchange_seen_at=at,
        recent_events=add_fingerprint(state.recent_events, fingerprint(at, f"e{at}".encode())),
        stamps=tuple(stamp._replace(seen_at=at) for stamp in state.stamps),
    )
    _, _, emitted = decided(after, connection(until))
    assert emitted


# --- stamps ---


@pytest.mark.parametrize(
    ("stamp", "holds"),
    [
        (Stamp(BUILD, NOON, "10.0.0.1", "192.0.2.1"), True),
        (Stamp(LOWER, NOON, "10.0.0.1", "192.0.2.1"), False),
        (Stamp(Build(15, 2, 2507, 61), NOON, "10.0.0.1", "192.0.2.1"), False),
        (Stamp(BUILD, NOON - DAY_MS, "10.0.0.1", "192.0.2.1"), False),
        (Stamp(BUILD, NOON - DAY_MS + 1, "10.0.0.1", "192.0.2.1"), True),
        (Stamp(BUILD, NOON, "10.0.0.2", "192.0.2.1"), True),
        (Stamp(BUILD, NOON, "10.0.0.1", "192.0.2.2"), True),
        (Stamp(BUILD, NOON, "", "192.0.2.2"), True),
        (Stamp(BUILD, NOON, "10.0.0.2", "192.0.2.2"), False),
    ],
)
def test_a_higher_stamp_counts_unless_it_is_old_or_surely_of_another_machine(stamp: Stamp, holds: bool) -> None:
    shown = Stamp(LOWER, NOON, "10.0.0.1", "192.0.2.1")
    assert highest_held([stamp], shown, DAY_MS) == (stamp.build if holds else LOWER)
    addresses = stamp.by_address.encode(), stamp.source_ip.encode()
    assert holds is is_held_above(
        *(stamp.build, stamp.seen_at, *addresses, LOWER, NOON, b"10.0.0.1", b"192.0.2.1", DAY_MS)
    )
