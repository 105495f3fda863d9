"""Who is told of a notice, when, and what a notice makes untrue."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.time import DAY_MS, HOUR_MS
from streams.notices.model import (
    OPERATORS,
    Destination,
    DestinationKind,
    DestinationState,
    Digest,
    Form,
    Origin,
    Subscription,
)
from streams.notices.tables import NEVER
from streams.notify.packing import (
    BUSY_WAIT_MS,
    IDLE_WAIT_MS,
    LONGEST_WAIT_MS,
    MOST_SHOWN,
    Grouping,
    Held,
    Waiting,
    grouped,
    pack,
    shown,
)
from streams.notify.retrying import MOST_RETRY_AFTER_MS, PARKED_AFTER_MS, SCHEDULE, next_of
from streams.notify.routing import OLDEST_MS, Directory, matches, routes_of, wants
from streams.notify.withdrawal import Untrue, made_untrue
from tests.support.notices import START, notice

EVERYTHING = Subscription("contoso", "s1", "d1")


def destination(number: int = 1, tenant: str = "contoso", state: str = "ACTIVE", zone: str = "UTC") -> Destination:
    return Destination(
        tenant,
        f"d{number}",
        DestinationKind.MAIL,
        "Admins",
        "a@contoso.example",
        Origin.TENANT,
        DestinationState(state),
        zone=zone,
    )


def directory(*pairs: tuple[Subscription, Destination], contacts: tuple[Destination, ...] = ()) -> Directory:
    found = {one.destination_id: one for _, one in pairs}
    return Directory([one for one, _ in pairs], found, lambda tenant: contacts if tenant == "contoso" else ())


@pytest.mark.parametrize("digest", list(Digest))
def test_a_zone_that_is_known_no_more_keeps_no_notice_back(digest: Digest) -> None:
    """The report may run on a host that knows more of them; all that a notice is told to would be lost."""
    quiet = EVERYTHING._replace(digest=digest, quiet_from=9 * 60, quiet_to=11 * 60)
    (lost,) = routes_of(notice(1), directory((quiet, destination(zone="Europe/Nowhere"))), START, START)
    (known,) = routes_of(notice(1), directory((quiet, destination(zone="UTC"))), START, START)
    assert (lost.due_at, lost.is_together) == (known.due_at, known.is_together)


@pytest.mark.parametrize(
    ("values", "about", "is_wanted"),
    [
        ({}, {}, True),
        ({"kinds": ("STAGE_ENTERED",)}, {}, True),
        ({"kinds": ("SERVER_DETECTED",)}, {}, False),
        ({"kinds": ("SERVER_DETECTED",)}, {"kind": "UNKNOWN"}, False),
        ({}, {"kind": "UNKNOWN"}, True),
        ({"least_severity": "WARNING"}, {"severity": "WARNING"}, True),
        ({"least_severity": "WARNING"}, {"severity": "CRITICAL"}, True),
        ({"least_severity": "WARNING"}, {"severity": "INFO"}, False),
        ({"servers": "mx*.contoso.com"}, {}, True),
        ({"servers": "MX?.contoso.com"}, {}, True),
        ({"servers": "mx1"}, {}, False),
        ({"servers": "*"}, {"server": None}, False),
        ({"servers": "mx[1].contoso.com"}, {}, False),
        ({"servers": "mx1.contoso.com"}, {"server": "mx1xcontoso.com"}, False),
    ],
)
def test_a_subscription_filters(values: dict[str, Any], about: dict[str, Any], is_wanted: bool) -> None:
    assert wants(EVERYTHING._replace(**values), notice(1, **about)) is is_wanted


@given(pattern=st.text("ab?*", min_size=1, max_size=7), name=st.text("abc", max_size=8))
def test_a_pattern_means_what_a_shell_means(pattern: str, name: str) -> None:
    assert matches(pattern, name) == fnmatchcase(name, pattern)


def test_a_pattern_of_many_stars_ends() -> None:
    assert not matches("*a" * 100 + "b", "a" * 250)
    assert matches("*a" * 100 + "*", "A" * 250)


def test_who_subscribed_is_told_and_contacts_are_not() -> None:
    known = directory((EVERYTHING, destination()), contacts=(destination(2),))
    assert [route.destination.destination_id for route in routes_of(notice(1), known, START, START)] == ["d1"]


@pytest.mark.parametrize("state", ["UNCONFIRMED", "REMOVED"])
def test_a_destination_that_is_not_used_leaves_it_to_the_contacts(state: str) -> None:
    known = directory(
        (EVERYTHING, destination(state=state)), contacts=(destination(2), destination(3, state="REMOVED"))
    )
    routes = routes_of(notice(1), known, START, START)
    assert [(route.destination.destination_id, route.subscription_id) for route in routes] == [("d2", "")]


def test_what_waits_for_a_parked_destination_is_kept() -> None:
    assert routes_of(notice(1), directory((EVERYTHING, destination(state="PARKED"))), START, START)


def test_operators_are_told_of_all_tenants() -> None:
    ours = (Subscription(OPERATORS, "s9", "d9", least_severity="WARNING"), destination(9, OPERATORS))
    known = directory((EVERYTHING, destination()), ours)
    assert [route.destination.destination_id for route in routes_of(notice(1), known, START, START)] == ["d1", "d9"]
    other = notice(1, tenant_id="fabrikam")
    assert [route.destination.destination_id for route in routes_of(other, known, START, START)] == ["d9"]


def test_nothing_is_told_that_was_written_before_somebody_asked() -> None:
    late = EVERYTHING._replace(created_at=START + 100)
    known = directory((late, destination()))
    assert routes_of(notice(1, written_at=START + 99), known, 0, START + 200) == []
    assert len(routes_of(notice(1, written_at=START + 100), known, 0, START + 200)) == 1


def test_a_first_start_tells_contacts_no_history() -> None:
    known = directory(contacts=(destination(2),))
    assert routes_of(notice(1, written_at=START - 1), known, START, START) == []
    assert len(routes_of(notice(1, written_at=START), known, START, START)) == 1


def test_what_is_too_old_is_expired() -> None:
    known = directory((EVERYTHING, destination()))
    old = notice(1, occurred_at=START - OLDEST_MS - 1, written_at=START)
    assert [route.is_expired for route in routes_of(old, known, 0, START)] == [True]
    assert [route.is_expired for route in routes_of(old, known, 0, START - 1)] == [False]


def test_a_destination_is_told_once_and_by_the_subscription_that_is_first() -> None:
    daily = EVERYTHING._replace(subscription_id="daily", digest=Digest.DAILY)
    urgent = EVERYTHING._replace(subscription_id="urgent", least_severity="CRITICAL")
    known = directory((daily, destination()), (urgent, destination()))
    assert [one.subscription_id for one in routes_of(notice(1, severity="CRITICAL"), known, 0, START)] == ["urgent"]
    route = routes_of(notice(1), known, 0, START)[0]
    assert (route.subscription_id, route.due_at, route.is_together) == ("daily", START + 22 * HOUR_MS, True)


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"kind": "SERVER_VANISHED"}, [Untrue(("STAGE_UPCOMING", "STAGE_ENTERED"), "mx1.contoso.com", False)]),
        (
            {"kind": "STAGE_ENTERED", "stage": 4},
            [
                Untrue(("STAGE_UPCOMING",), "mx1.contoso.com", False, 5),
                Untrue(("STAGE_ENTERED",), "mx1.contoso.com", False, 4),
            ],
        ),
        (
            {"kind": "PAUSE_STARTED", "server": None},
            [
                Untrue(("PAUSE_ENDED", "PAUSE_CANCELLED"), None, False),
                Untrue(("STAGE_UPCOMING", "STAGE_ENTERED"), None, True),
            ],
        ),
        (
            {"kind": "PAUSE_STARTED"},
            [
                Untrue(("PAUSE_ENDED", "PAUSE_CANCELLED"), "mx1.contoso.com", False),
                Untrue(("STAGE_UPCOMING", "STAGE_ENTERED"), "mx1.contoso.com", False),
            ],
        ),
        ({"kind": "COMMAND_REFUSED"}, []),
        ({"kind": "UNKNOWN"}, []),
    ],
)
def test_what_a_notice_makes_untrue(about: dict[str, Any], expected: list[Untrue]) -> None:
    assert made_untrue(notice(1, **about)) == expected


def waiting(number: int, severity: str = "WARNING", *, is_together: bool = False) -> Waiting:
    return Waiting(f"n{number:04}", severity, START + number, is_together)


def test_few_notices_go_one_by_one_and_many_as_one() -> None:
    few = [waiting(number) for number in (3, 1, 2)]
    assert pack(few, 5) == [(Form.SINGLE, (f"n000{number}",)) for number in (1, 2, 3)]
    many = pack([waiting(number) for number in range(25)], 5)
    assert many == [(Form.DIGEST, tuple(f"n{number:04}" for number in range(25)))]
    assert [one.form for one in pack([*few, waiting(4, is_together=True)], 5)] == [Form.DIGEST]
    assert [one.form for one in pack([waiting(4, is_together=True)], 5)] == [Form.SINGLE]
    assert pack([], 5) == []


def test_a_digest_shows_the_most_urgent_in_order() -> None:
    held = [Held("CRITICAL" if number % 10 == 0 else "INFO", number, "") for number in range(MOST_SHOWN + 50)]
    found = shown(list(reversed(held)))
    assert len(found) == MOST_SHOWN
    assert [one for one in found if one.severity == "CRITICAL"] == held[::10]
    assert found == sorted(found, key=lambda one: one.occurred_at)


def test_what_comes_alone_hardly_waits_and_a_storm_is_decided_before_sending() -> None:
    idle = Grouping(NEVER, None, 0)
    alone = grouped(idle, 1, None, START, 5, is_behind=False)
    assert alone == Grouping(START + IDLE_WAIT_MS, START, 1)
    second = grouped(alone, 1, None, START + 100, 5, is_behind=False)
    assert second == Grouping(START + BUSY_WAIT_MS, START, 2)
    lane = grouped(idle, 1, None, START, 5, is_behind=True)
    assert lane.due_at == START + BUSY_WAIT_MS
    for second_of in range(1, 100):
        lane = grouped(lane, 2, None, START + second_of * 1000, 5, is_behind=True)
        assert lane.due_at <= START + LONGEST_WAIT_MS
    assert lane == Grouping(START + LONGEST_WAIT_MS, START, 199)


def test_what_goes_later_does_not_move_what_goes_before() -> None:
    lane = Grouping(START + 50, START, 1)
    assert grouped(lane, 0, START + HOUR_MS, START, 5, is_behind=False) == lane
    assert grouped(Grouping(NEVER, None, 0), 0, START + HOUR_MS, START, 5, is_behind=True).due_at == START + HOUR_MS


def test_failures_are_tried_again_ever_more_seldom() -> None:
    for failures, delay in enumerate([*SCHEDULE, SCHEDULE[-1]], start=1):
        for chance in (0.0, 0.5, 1.0):
            found = next_of(failures, START, START, None, lambda chance=chance: chance)  # type: ignore[misc]
            assert found == (START + round(delay * (0.8 + 0.4 * chance)), False)
    assert sum(SCHEDULE) > 3 * DAY_MS


def test_the_other_side_is_believed_for_a_day() -> None:
    assert next_of(1, START, START, 60_000, lambda: 0.5).at == START + 60_000
    assert next_of(1, START, START, 10 * DAY_MS, lambda: 0.5).at == START + MOST_RETRY_AFTER_MS
    assert next_of(1, START, START, -5, lambda: 0.5).at == START + SCHEDULE[0]


def test_a_destination_that_only_fails_is_parked() -> None:
    assert not next_of(14, START, START + PARKED_AFTER_MS - 1, None, lambda: 0.5).is_parked
    assert next_of(14, START, START + PARKED_AFTER_MS, None, lambda: 0.5).is_parked
