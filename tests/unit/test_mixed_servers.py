"""Several machines behind one name, and stamps that lag: what ends and begins an episode, and how often it is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.exchange.build import parse_build
from streams.domain.keys import ServerKey
from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.server.stamps import MAX_STAMPS, Stamp, highest_held, with_stamp
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.time import DAY_MS, HOUR_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment
from tests.support.episodes import kinds, row

START = parse_moment("start", "2026-10-01T00:00:00Z")
POLICY = read_policy("microsoft-2026-09")
OLD, GOOD, OLD_2019 = "15.1.2507.39", "15.1.2507.61", "15.2.1544.4"
HOST = "mail.contoso.com"
_ids = count()


def date_of(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")


def connection(
    hours: float,
    build: str | None,
    machine: int = 1,
    dated: float | None = None,
    connector: ConnectorType = ConnectorType.ON_PREMISES,
) -> InboundConnection:
    """A message `hours` after the start, from a machine with addresses of its own, dated then or earlier."""
    at = START + round(hours * HOUR_MS)
    stamp = f"with Microsoft SMTP Server id {build}" if build else "with ESMTPS id 4Xq"
    date = date_of(at if dated is None else START + round(dated * HOUR_MS))
    return InboundConnection(
        event_id=f"e{next(_ids)}",
        observed_at=at,
        tenant_id="contoso",
        connector_id="c",
        connector_type=connector,
        source_ip=f"192.0.2.{machine}",
        helo=HOST,
        received=(f"from a.contoso.com (10.0.1.{machine}) by {HOST} (10.0.0.{machine}) {stamp}; {date}",),
    )


def run(*steps: InboundConnection | float, until: float | None = None) -> Simulation:
    simulation = Simulation(Rulebook((POLICY,), shipped_catalogue()))
    for step in steps:
        if isinstance(step, InboundConnection):
            simulation.feed(step)
        else:
            simulation.advance(START + round(step * HOUR_MS))
    if until is not None:
        simulation.advance(START + round(until * HOUR_MS))
    return simulation


def test_a_refused_build_within_a_day_of_the_end_makes_the_server_mixed() -> None:
    found = run(connection(0, OLD), connection(35 * 24, OLD), connection(36 * 24, GOOD, 2), connection(37 * 24, OLD))
    assert kinds(found)[-2:] == ["SERVER_RESOLVED", "SERVER_MIXED"]
    last = found.results.verdicts[-1]
    assert (last.action, last.stage, last.is_mixed, last.detected_at) == ("THROTTLE", 2, True, START)
    shown = row(found)
    assert (shown.status, str(shown.build), str(shown.accepted_build)) == ("MIXED", OLD, GOOD)
    assert shown.evidence is not None
    assert OLD in str(shown.evidence.received)
    assert shown.accepted_evidence is not None
    assert GOOD in str(shown.accepted_evidence.received)


def test_a_moment_later_it_is_a_regression() -> None:
    late = 36 * 24 + 24 + 1 / HOUR_MS
    found = run(connection(0, OLD), connection(36 * 24, GOOD, 2), connection(late, OLD))
    assert kinds(found)[-1] == "SERVER_REGRESSED"


def test_while_mixed_an_accepted_build_ends_nothing_and_nothing_more_is_told() -> None:
    steps = [connection(0, OLD), connection(1, GOOD, 2)]
    for turn in range(2, 80):
        steps.append(connection(turn, (OLD, GOOD)[turn % 2], 1 + turn % 2))
    found = run(*steps)
    assert kinds(found) == ["SERVER_DETECTED", "SERVER_RESOLVED", *["SERVER_MIXED"] * 4]
    mixed = [note.occurred_at for note in found.results.notifications if note.kind == "SERVER_MIXED"]
    assert mixed == [START + 2 * HOUR_MS + day * DAY_MS for day in range(4)]
    assert len(found.results.verdicts) == 3


def test_a_day_without_a_refused_build_settles_it_and_the_next_accepted_build_ends_the_episode() -> None:
    steps = (connection(0, OLD), connection(1, GOOD, 2), connection(2, OLD), connection(20, GOOD, 2))
    assert row(run(*steps, until=25.9)).status == "MIXED"
    settled = run(*steps, until=26)
    assert (row(settled).status, settled.results.verdicts[-1].stage) == ("REPORTED", 1)
    ended = run(*steps, connection(26, GOOD, 2))
    assert (kinds(ended)[-1], row(ended).status) == ("SERVER_RESOLVED", "RESOLVED")
    assert row(ended).accepted_build is None


def test_a_message_from_before_the_update_only_counts() -> None:
    queued = connection(5, OLD, dated=0.5)
    found = run(connection(0, OLD), connection(1, GOOD), connection(2, OLD_2019, 2, dated=0.5), queued)
    assert kinds(found) == ["SERVER_DETECTED", "SERVER_RESOLVED"]
    assert row(found).status == "RESOLVED"
    assert found.states[ServerKey("contoso", HOST)].connections == 4


def test_a_lower_stamp_of_the_same_machine_takes_nothing_back() -> None:
    for source, by in ((1, 1), (1, 2), (2, 1)):
        lower = connection(100, OLD)
        line = lower.received[0].replace("by mail.contoso.com (10.0.0.1)", f"by mail.contoso.com (10.0.0.{by})")
        lower = lower._replace(source_ip=f"192.0.2.{source}", received=(line,))
        found = run(connection(0, GOOD), lower)
        assert (kinds(found), str(row(found).build)) == ([], GOOD)


def test_a_lower_stamp_of_another_machine_begins_an_episode() -> None:
    assert kinds(run(connection(0, GOOD), connection(100, OLD, 2))) == ["SERVER_DETECTED"]


def test_a_lower_stamp_counts_once_the_higher_one_was_not_seen_for_a_week() -> None:
    week = 7 * 24
    assert kinds(run(connection(0, GOOD), connection(week - 1 / HOUR_MS, OLD))) == []
    assert kinds(run(connection(0, GOOD), connection(week, OLD))) == ["SERVER_DETECTED"]
    again = run(connection(0, GOOD), connection(24, GOOD), connection(week, OLD))
    assert kinds(again) == []


def test_a_lower_stamp_of_another_cu_line_is_judged_at_once() -> None:
    assert kinds(run(connection(0, GOOD), connection(1, OLD_2019))) == ["SERVER_DETECTED"]


def test_a_connector_that_is_not_judged_lends_no_stamp() -> None:
    stranger = connection(0, "15.1.2507.9999", connector=ConnectorType.NONE)
    found = run(stranger, connection(1, OLD))
    assert kinds(found) == ["SERVER_DETECTED"]


@pytest.mark.parametrize("build", ["99.99.9999.9", "15.20.1.1", None])
def test_what_is_no_build_of_an_own_server_ends_nothing(build: str | None) -> None:
    found = run(connection(0, OLD), connection(24, build), until=25)
    assert (kinds(found), row(found).status, str(row(found).build)) == (["SERVER_DETECTED"], "REPORTED", OLD)


def override_of(build: str, hours: float) -> AdminCommand:
    return AdminCommand(
        command_id="c",
        tenant_id="contoso",
        issued_at=START + round(hours * HOUR_MS),
        issued_by="admin",
        role=Role.OPERATOR,
        kind=CommandKind.OVERRIDE_BUILD,
        server=HOST,
        reason="wrong stamp",
        build=build,
        expires_at=START + 90 * DAY_MS,
    )


def test_a_number_of_no_product_does_not_end_an_override() -> None:
    simulation = run(connection(0, OLD))
    simulation.command(override_of(GOOD, 1))
    for hours, build in enumerate(("99.99.9999.9", "15.20.1.1"), start=2):
        simulation.feed(connection(hours, build))
    assert "OVERRIDE_ENDED" not in kinds(simulation)


def test_a_late_connection_from_before_the_end_begins_no_episode() -> None:
    found = run(connection(0, OLD), connection(30, GOOD), connection(29, OLD_2019, 2), connection(10, OLD, 2))
    assert kinds(found) == ["SERVER_DETECTED", "SERVER_RESOLVED"]


def test_a_name_is_told_to_be_taken_over_only_where_a_gateway_sends() -> None:
    silent = run(connection(0, OLD), until=31 * 24)
    assert (row(silent).status, silent.results.verdicts[-1].stage) == ("THROTTLED", 2)
    used = run(connection(0, OLD), connection(24, None), connection(29 * 24, OLD), until=31 * 24)
    assert used.results.verdicts[-1].stage == 2


def test_a_connector_that_is_not_judged_does_not_keep_an_episode_of_a_name_taken_over() -> None:
    steps = [connection(0, OLD), *(connection(day * 24, None) for day in range(1, 32))]
    stray = connection(20 * 24 + 1, OLD, connector=ConnectorType.NONE)
    assert row(run(*steps, stray, until=31 * 24)).status == "VANISHED"


def test_a_notice_is_told_once_though_a_policy_is_looked_at_again_in_its_moment() -> None:
    later = replace(POLICY, version=2, effective_at=datetime.fromtimestamp(START / 1000, UTC) + timedelta(days=50))
    simulation = Simulation(Rulebook((POLICY, later), shipped_catalogue()))
    for step in (connection(0, OLD), connection(29 * 24, OLD_2019, 2)):
        simulation.feed(step)
    ids = [note.notification_id for note in simulation.results.notifications]
    assert kinds(simulation).count("STAGE_UPCOMING") == 2
    assert len(set(ids)) == len(ids)


def test_an_exchange_server_that_comes_back_after_a_takeover_goes_on_where_it_stopped() -> None:
    steps = [connection(0, OLD), *(connection(day * 24, None) for day in range(1, 32)), connection(40 * 24, OLD)]
    found = run(*steps)
    assert kinds(found)[-1] == "SERVER_REGRESSED"
    last = found.results.verdicts[-1]
    assert (last.stage, last.detected_at) == (2, START)


def test_an_override_that_an_accepted_build_ends_leaves_a_mixed_server_judged_by_its_other_build() -> None:
    unsupported, patched = "15.0.1497.48", "15.1.2507.73"
    simulation = run(connection(0, unsupported), connection(0.1, patched), connection(0.2, unsupported))
    simulation.command(override_of("15.1.2507.12", 0.3))
    assert row(simulation).finding == "OUT_OF_DATE"
    simulation.feed(connection(0.4, patched))
    assert kinds(simulation)[-1] == "OVERRIDE_ENDED"
    found = row(simulation)
    assert (found.status, str(found.build), found.finding) == ("MIXED", unsupported, "UNSUPPORTED")
    assert simulation.results.verdicts[-1].finding == "UNSUPPORTED"


def test_a_queued_message_does_not_end_an_override() -> None:
    steps = [connection(0, OLD), connection(36 * 24, OLD)]
    simulation = run(*steps)
    simulation.command(override_of(GOOD, 36 * 24 + 1))
    simulation.feed(connection(36 * 24 + 2, OLD_2019, 2, dated=36 * 24))
    simulation.feed(connection(36 * 24 + 3, OLD))
    assert "OVERRIDE_ENDED" not in kinds(simulation)
    assert (row(simulation).status, row(simulation).first_detected_date) == ("RESOLVED", START)


def test_a_name_taken_over_is_no_end_that_makes_a_server_mixed() -> None:
    steps = [connection(0, OLD), *(connection(day * 24, None) for day in range(1, 31)), connection(30 * 24 + 1, OLD)]
    assert kinds(run(*steps))[-1] == "SERVER_REGRESSED"


def test_a_patched_host_behind_many_addresses_is_not_blocked_for_stamps_that_lag() -> None:
    def message(hours: float, build: str, source: int) -> InboundConnection:
        line = connection(hours, build).received[0]
        return connection(hours, build)._replace(source_ip=f"198.51.100.{source}", received=(line,))

    steps = [message(0, GOOD, 200), *(message(1 + source / 10, OLD, source) for source in range(40))]
    found = run(*steps)
    assert (kinds(found), row(found).status) == ([], "COMPLIANT")


def test_a_greeting_with_a_lone_parenthesis_hides_no_machine() -> None:
    lone = connection(0, GOOD)
    line = lone.received[0].replace("from a.contoso.com (10.0.1.1)", "from x ( (6.6.6.6)")
    found = run(lone._replace(received=(line,)), connection(1, OLD, 2))
    assert kinds(found) == ["SERVER_DETECTED"]


# Stamps that machines showed.


def test_stamps_are_bounded_and_the_one_seen_longest_ago_goes() -> None:
    stamps: tuple[Stamp, ...] = ()
    for number in range(100):
        stamps = with_stamp(stamps, Stamp(parse_build(GOOD), START + number, f"10.0.0.{number}", "192.0.2.1"), DAY_MS)
    assert len(stamps) == MAX_STAMPS
    assert min(stamp.seen_at for stamp in stamps) == START + 100 - MAX_STAMPS


def test_of_too_many_stamps_a_build_without_an_update_goes_before_the_first_update() -> None:
    shown = ["15.1.2507.1", "15.1.2507", *(f"15.1.2507.{number}" for number in range(2, MAX_STAMPS + 1))]
    stamps: tuple[Stamp, ...] = ()
    for number, build in enumerate(shown):
        stamps = with_stamp(stamps, Stamp(parse_build(build), START + number, f"10.0.0.{number}", "192.0.2.1"), DAY_MS)
    assert sorted({*shown} - {str(stamp.build) for stamp in stamps}) == ["15.1.2507"]


WEEK = 7 * DAY_MS


def stamp(build: str, at: int, by_address: str = "10.0.0.1", source_ip: str = "192.0.2.1") -> Stamp:
    return Stamp(parse_build(build), at, by_address, source_ip)


def test_a_stamp_that_is_seen_again_is_kept_with_the_others_and_has_its_last_moment() -> None:
    one, two, three = (stamp(GOOD, 5, f"10.0.0.{number}") for number in (1, 2, 3))
    again = one._replace(seen_at=9)
    assert with_stamp((one, two, three), again, WEEK) == (again, two, three)
    assert with_stamp((again, two, three), one, WEEK) == (again, two, three)


def test_a_stamp_is_forgotten_once_it_no_longer_holds() -> None:
    old, new = stamp("15.1.2507.69", 0, "10.0.0.9"), stamp(GOOD, WEEK)
    assert with_stamp((old,), new, WEEK) == (new,)
    assert with_stamp((old,), new._replace(seen_at=WEEK - 1), WEEK) == (old, new._replace(seen_at=WEEK - 1))


@pytest.mark.parametrize(
    ("lower", "is_kept"),
    [
        (stamp(OLD, 0), False),
        (stamp(OLD, 0, by_address="10.0.0.2"), True),
        (stamp(OLD, 0, source_ip="192.0.2.2"), True),
        (stamp(OLD_2019, 0), True),
        (stamp("15.1.2375.7", 0), True),
        (stamp("15.1.2507.69", 0), True),
    ],
    ids=["the same machine", "another address", "another source", "another product", "another CU line", "higher"],
)
def test_a_higher_stamp_puts_a_lower_one_of_the_same_machine_out_of_memory(lower: Stamp, is_kept: bool) -> None:
    assert (lower in with_stamp((lower,), stamp(GOOD, 1), WEEK)) is is_kept


def test_a_build_without_an_update_is_below_the_first_update() -> None:
    bare, first = stamp("15.1.2507", 0), stamp("15.1.2507.1", 0)
    assert highest_held([bare], stamp("15.1.2507.0", 1), WEEK) == parse_build("15.1.2507.0")
    assert highest_held([first], stamp("15.1.2507", 1), WEEK) == first.build
    zero = stamp("15.1.2507.0", 1)
    assert with_stamp((bare,), zero, WEEK) == (zero,)
    assert with_stamp((first,), bare._replace(seen_at=1), WEEK) == (first, bare._replace(seen_at=1))


def test_between_two_held_stamps_the_higher_one_counts_while_it_holds() -> None:
    week = 7 * DAY_MS
    stamps: tuple[Stamp, ...] = ()
    for build, day in (("15.1.2507.69", 0), ("15.1.2507.67", 3)):
        stamps = with_stamp(stamps, Stamp(parse_build(build), day * DAY_MS, "10.0.0.1", "192.0.2.1"), week)
    lower = parse_build("15.1.2507.66")
    held = {
        day: str(highest_held(stamps, Stamp(lower, day * DAY_MS, "10.0.0.1", "192.0.2.1"), week)) for day in (6, 7, 10)
    }
    assert held == {6: "15.1.2507.69", 7: "15.1.2507.67", 10: "15.1.2507.66"}


TURNS = st.lists(
    st.tuples(
        st.floats(0, 30) | st.sampled_from((0.0, 1.0, 24.0, 24.0 + 1 / HOUR_MS)),
        st.sampled_from((OLD, GOOD, OLD_2019, "15.1.2507.40", "14.3.123.4", "15.2.1748.39", "99.99.9999.9", None)),
        st.integers(1, 4),
        st.floats(0, 30),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(TURNS)
def test_no_sequence_of_builds_tells_more_than_a_bounded_number_a_day(
    turns: list[tuple[float, str | None, int, float]],
) -> None:
    hours, steps = 0.0, []
    for wait, build, machine, age in turns:
        hours += wait
        steps.append(connection(hours, build, machine, dated=hours - age))
    results = run(*steps, until=hours + 50).results
    detected = {note.occurred_at for note in results.notifications if note.kind in ("SERVER_DETECTED", "STAGE_ENTERED")}
    of_builds = [row for row in results.verdicts if row.issued_at not in detected]
    begun_or_ended = Counter(row.issued_at // DAY_MS for row in of_builds if row.is_mixed or not row.stage)
    renamed = Counter(row.issued_at // DAY_MS for row in of_builds if row.stage and not row.is_mixed)
    of_stages = ("SERVER_DETECTED", "STAGE_ENTERED", "STAGE_UPCOMING")
    notes = Counter(note.occurred_at // DAY_MS for note in results.notifications if note.kind not in of_stages)
    assert max(begun_or_ended.values(), default=0) <= 2
    assert max(renamed.values(), default=0) <= 1
    assert max(notes.values(), default=0) <= 3


def test_a_server_that_is_mixed_again_within_a_day_is_told_when_the_day_is_over() -> None:
    policy = replace(POLICY, settle_hours=1)
    simulation = Simulation(Rulebook((policy,), shipped_catalogue()))
    steps: list[tuple[float, str]] = [(0, OLD), (1, GOOD), (2, OLD)]  # mixed, and told of it, at hour 2
    steps += [(3.5, GOOD), (4, OLD)]  # settled at hour 3, accepted, and mixed once more
    for hours, build in steps:
        simulation.feed(connection(hours, build, 1 if build == OLD else 2))
    mixed = ["SERVER_DETECTED", "SERVER_RESOLVED", "SERVER_MIXED", "SERVER_RESOLVED"]
    assert kinds(simulation) == mixed
    for half_hours in range(9, 52):
        simulation.feed(connection(half_hours / 2, OLD))
    simulation.advance(START + 26 * HOUR_MS - 1)
    assert kinds(simulation) == mixed
    simulation.advance(START + 26 * HOUR_MS)
    assert kinds(simulation) == [*mixed, "SERVER_MIXED"]


def test_a_refused_build_that_ends_an_override_is_shown_beside_the_build_of_the_override() -> None:
    found = run(connection(0, OLD))
    found.command(override_of(GOOD, 1))
    found.feed(connection(2, OLD_2019, 2))
    assert kinds(found)[-2:] == ["OVERRIDE_ENDED", "SERVER_MIXED"]
    shown = row(found)
    assert (str(shown.build), str(shown.accepted_build), shown.accepted_evidence) == (OLD_2019, GOOD, None)


def test_a_message_waited_if_it_was_dated_before_the_end_of_the_episode() -> None:
    second = 1 / 3600
    for dated, status in ((1 - second, "RESOLVED"), (1, "MIXED")):
        found = run(connection(0, OLD), connection(1, GOOD), connection(2, OLD_2019, 2, dated=dated))
        assert row(found).status == status


def test_a_server_stays_mixed_while_other_timers_fire() -> None:
    found = run(connection(0, OLD), connection(1, GOOD, 2), connection(2, OLD), connection(2.1, OLD), until=4)
    assert (row(found).reported_at, row(found).status) == (START + 3 * HOUR_MS, "MIXED")


def test_of_an_accepted_build_beside_another_the_first_message_that_showed_it_is_kept() -> None:
    found = run(connection(0, OLD), connection(1, GOOD, 2), connection(2, OLD))
    first = row(found).accepted_evidence
    assert first is not None
    assert first.observed_at == START + 1 * HOUR_MS
    found.feed(connection(3, GOOD, 2))
    assert found.states[ServerKey("contoso", HOST)].accepted_evidence == first
    found.feed(connection(4, "15.1.2507.63", 2))
    second = found.states[ServerKey("contoso", HOST)].accepted_evidence
    assert second is not None
    assert second.observed_at == START + 4 * HOUR_MS
