"""Scenarios worked out by hand, where several rules meet at one moment or records come late."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streams.cli import simulate as simulate_command
from streams.domain.exchange.build import Product, parse_build
from streams.domain.outputs.notification import AdminNotification, NotificationKind
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.ladder import Action
from streams.domain.policy.policy import Mode, Policy, Stage
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.state import RECENT_EVENTS
from streams.domain.tenant.commands import AdminCommand, CommandKind
from streams.domain.time import DAY_MS, iso
from streams.domain.whatif import predict, with_policy
from streams.policies.catalogue.files import shipped_catalogue
from streams.service.simulation import Simulation
from streams.wire.records import to_json_line, to_record
from tests.support.commands import SERVER, audit, command, pause
from tests.support.episodes import DETECTED, GOOD, OLD, POLICY, connection, kinds, row, run

OLDER = "15.1.2507.23"
FIRST = replace(POLICY, policy_id="first", effective_at=datetime(2023, 1, 1, tzinfo=UTC))


def policy(day: int, **changed: Any) -> Policy:
    """The first policy, changed from so many days after the detection on."""
    begins = datetime.fromtimestamp((DETECTED + day * DAY_MS) / 1000, UTC)
    return replace(FIRST, policy_id=f"from-day-{day}", effective_at=begins, **changed)


def day(number: float) -> int:
    return DETECTED + round(number * DAY_MS)


def told(found: Simulation, kind: NotificationKind) -> list[AdminNotification]:
    return [notification for notification in found.results.notifications if notification.kind is kind]


def rates(verdict: Verdict, moment: int) -> tuple[int, int]:
    """The minutes of throttling and blocking that an edge applies which knows this verdict alone."""
    if verdict.paused_until is not None and moment < verdict.paused_until:
        return 0, 0
    found = verdict.throttle_minutes_per_hour, verdict.block_minutes_per_hour
    for stage in verdict.schedule:
        if stage.starts_at <= moment:
            found = stage.throttle_minutes_per_hour, stage.block_minutes_per_hour
    return found


def override(issued_at: int, build: str, expires_at: int) -> AdminCommand:
    return command(
        CommandKind.OVERRIDE_BUILD, issued_at, server=SERVER, build=build, reason="stamp", expires_at=expires_at
    )


def exception(issued_at: int, expires_at: int) -> AdminCommand:
    return command(
        CommandKind.EXCEPTION_GRANT, issued_at, server=SERVER, owner="mail", reason="moves", expires_at=expires_at
    )


# --- several things due at one moment ---


def test_a_stage_due_when_an_override_ends_is_entered() -> None:
    found = run(connection(DETECTED))
    found.command(override(day(5), OLDER, day(30)))
    found.advance(day(31))
    assert (row(found).stage, row(found).status) == (2, "THROTTLED")
    assert [note.occurred_at for note in told(found, NotificationKind.STAGE_ENTERED)] == [day(30)]


def test_a_stage_due_when_the_policy_switches_is_told() -> None:
    found = run(connection(DETECTED), day(31), policies=(FIRST, policy(30)))
    assert row(found).stage == 2
    assert [note.occurred_at for note in told(found, NotificationKind.STAGE_ENTERED)] == [day(30)]


def test_a_notice_due_when_the_policy_switches_is_told() -> None:
    found = run(connection(DETECTED), day(24), policies=(FIRST, policy(23)))
    assert [note.occurred_at for note in told(found, NotificationKind.STAGE_UPCOMING)] == [day(23)]


def test_a_stage_that_a_new_ladder_brings_is_told() -> None:
    ladder = (Stage(0, 0, 0), Stage(5, 5, 0), Stage(25, 0, 60))
    found = run(connection(DETECTED), day(21), policies=(FIRST, policy(20, ladder=ladder)))
    assert row(found).stage == 2
    assert [note.occurred_at for note in told(found, NotificationKind.STAGE_ENTERED)] == [day(20)]


def test_a_new_ladder_throttles_no_harder_than_its_own_dates_say() -> None:
    ladder = (Stage(0, 0, 0), Stage(60, 60, 0), Stage(70, 0, 60))
    found = run(connection(DETECTED), day(36), policies=(FIRST, policy(35, ladder=ladder)))
    shown = row(found)
    assert shown.throttle_enabled_date is not None
    if shown.action is Action.THROTTLE:
        assert shown.throttle_enabled_date <= day(36)
        assert found.results.verdicts[-1].throttle_minutes_per_hour < 60


# --- what an edge on its own goes by ---


def test_a_known_switch_to_reporting_is_in_the_verdict_before_it() -> None:
    found = run(connection(DETECTED), day(41), policies=(FIRST, policy(45, mode=Mode.REPORT), policy(60)))
    last = found.results.verdicts[-1]
    assert last.stage == 3
    assert [rates(last, day(at)) for at in (44, 45, 59, 60, 64, 65)] == [
        (10, 0),
        (0, 0),
        (0, 0),
        (10, 0),
        (10, 0),
        (20, 0),
    ]


def test_a_known_switch_back_to_enforcement_is_in_the_verdict_before_it() -> None:
    found = run(connection(DETECTED), day(50), policies=(FIRST, policy(45, mode=Mode.REPORT), policy(60)))
    last = found.results.verdicts[-1]
    assert [rates(last, day(at)) for at in (50, 59, 60, 64, 65)] == [(0, 0), (0, 0), (10, 0), (10, 0), (20, 0)]


# --- overrides ---


@pytest.mark.parametrize("until", [10, 95])
def test_an_override_that_ended_enforces_nothing_on_a_server_without_a_build(until: int) -> None:
    found = run(connection(DETECTED, None))
    found.command(override(day(1), OLD, day(9)))
    found.advance(day(until))
    last = found.results.verdicts[-1]
    assert (last.action, last.stage, last.schedule) == (Action.ACCEPT, 0, ())
    assert row(found).finding in ("UNDETERMINED", "NOT_EXCHANGE")


def test_a_connection_without_a_build_does_not_end_what_an_override_says() -> None:
    found = run(connection(DETECTED, None))
    found.command(override(day(1), OLD, day(90)))
    found.feed(connection(day(2), None))
    assert (found.results.verdicts[-1].stage, row(found).finding) == (1, "OUT_OF_DATE")
    assert "SERVER_RESOLVED" not in kinds(found)


def test_a_row_shows_no_override_that_has_ended() -> None:
    found = run(connection(DETECTED, GOOD))
    found.command(override(day(1), "15.1.2507.63", day(9)))
    found.feed(connection(day(2), GOOD))
    assert row(found).override_until == day(9)
    found.advance(day(20))
    assert (row(found).override_build, row(found).override_until) == (None, None)


def test_the_audit_record_of_an_override_shows_what_changed() -> None:
    found = run(connection(DETECTED))
    found.command(override(day(1), GOOD, day(9)))
    record = found.results.audit[-1]
    assert record.before != record.after
    assert GOOD in str(record.after)


# --- announcements ---


def test_a_server_that_an_override_releases_is_told_of_the_policy_that_takes_it_again() -> None:
    raised = replace(POLICY.products[Product.EXCHANGE_2016], floors=(parse_build("15.1.2507.63"),))
    later = policy(10, products={**POLICY.products, Product.EXCHANGE_2016: raised})
    found = run(connection(DETECTED), policies=(FIRST, later))
    found.command(override(day(1), GOOD, day(50)))
    found.advance(day(9))
    assert [note.next_stage_at for note in told(found, NotificationKind.POLICY_ANNOUNCED)] == [day(10)]


def test_a_server_that_a_policy_releases_is_told_of_the_next_that_takes_it_again() -> None:
    relaxed = replace(POLICY.products[Product.EXCHANGE_2016], floors=(parse_build(OLD),))
    between = policy(5, products={**POLICY.products, Product.EXCHANGE_2016: relaxed})
    found = run(connection(DETECTED), day(9), policies=(FIRST, between, policy(10)))
    assert row(found).stage == 0
    assert [note.next_stage_at for note in told(found, NotificationKind.POLICY_ANNOUNCED)] == [day(10)]


# --- pauses and quota ---


def test_invariant_7_days_of_a_server_pause_are_charged_when_the_tenant_pause_over_them_is_cancelled() -> None:
    found = run(connection(DETECTED))
    found.command(pause(day(1), 90))
    found.command(command(CommandKind.PAUSE_SERVER, day(1), days=90, server=SERVER))
    found.command(command(CommandKind.PAUSE_CANCEL, day(1) + 1))
    found.command(pause(day(91), 89))
    cover = found.tenants["contoso"].waivers_of(SERVER)
    paused, reached = 0, 0
    for starts_at, ends_at in sorted(cover.pauses):
        paused += max(0, ends_at - max(starts_at, reached))
        reached = max(reached, ends_at)
    assert paused <= 90 * DAY_MS, paused / DAY_MS


def test_a_pause_of_the_tenant_is_told_and_audited_as_one_whatever_server_the_command_names() -> None:
    found = run(connection(DETECTED))
    found.command(pause(day(1), 5, server=SERVER))
    record, notification = found.results.audit[-1], found.results.notifications[-1]
    if record.outcome == "ACCEPTED":
        assert notification.server is None
        assert iso(day(6)) in str(record.after)
    else:
        assert "server" in str(record.reason)


def test_an_end_that_leaves_the_server_covered_does_not_say_that_enforcement_goes_on() -> None:
    found = run(connection(DETECTED))
    found.command(pause(day(1), 10))
    found.command(exception(day(2), day(4)))
    found.advance(day(5))
    (expired,) = told(found, NotificationKind.EXCEPTION_EXPIRED)
    assert "enforcement goes on" not in expired.text


def test_the_next_stage_of_a_paused_server_in_the_first_stage_is_the_second() -> None:
    found = run(connection(DETECTED))
    found.command(pause(day(5), 10))
    shown = row(found)
    assert (shown.next_stage_start_date, shown.next_stage_throttle_rate) == (day(40), 5)


def test_a_detection_during_a_pause_names_the_date_of_the_throttling() -> None:
    found = run(connection(DETECTED, GOOD))
    found.command(pause(day(5), 10))
    found.feed(connection(day(8)))
    (detected,) = told(found, NotificationKind.SERVER_DETECTED)
    assert detected.next_stage_at == day(45)
    assert iso(day(45)) in detected.text


@pytest.mark.parametrize("kind", [CommandKind.PAUSE_CREATE, CommandKind.EXCEPTION_GRANT])
def test_a_row_shows_pause_and_exception_also_while_the_policy_only_reports(kind: CommandKind) -> None:
    found = run(connection(DETECTED), policies=(replace(FIRST, mode=Mode.REPORT),))
    found.command(pause(day(5), 10) if kind is CommandKind.PAUSE_CREATE else exception(day(5), day(15)))
    found.feed(connection(day(6)))
    shown = row(found)
    assert day(15) in (shown.paused_until, shown.exempt_until)
    assert shown.status == ("PAUSED" if kind is CommandKind.PAUSE_CREATE else "EXEMPT")


# --- late commands ---


def test_a_late_cancel_enters_the_stages_that_it_brings() -> None:
    found = run(connection(DETECTED))
    found.command(pause(day(25), 30))
    found.feed(connection(day(50)))
    found.command(command(CommandKind.PAUSE_CANCEL, day(30)))
    last = found.results.verdicts[-1]
    assert all(stage.starts_at > last.issued_at for stage in last.schedule)
    shown = row(found)
    assert shown.next_stage_start_date is not None
    assert shown.next_stage_start_date > day(50)
    assert rates(last, day(50)) == (last.throttle_minutes_per_hour, last.block_minutes_per_hour)


def test_a_late_pause_leaves_the_dates_of_stages_already_entered() -> None:
    found = run(connection(DETECTED), connection(day(35)))
    assert row(found).throttle_enabled_date == day(30)
    found.command(pause(day(25), 2))
    assert row(found).status == "THROTTLED"
    assert row(found).throttle_enabled_date == day(30)


def test_a_pause_whose_end_is_past_when_it_comes_is_told_to_have_ended() -> None:
    found = run(connection(DETECTED))
    found.command(pause(day(50), 1))
    found.command(pause(day(25), 2))
    found.advance(day(60))
    assert [note.occurred_at for note in told(found, NotificationKind.PAUSE_ENDED)].count(day(27)) == 1


def test_cancelling_ends_every_pause_that_runs() -> None:
    found = run(connection(DETECTED))
    found.command(pause(day(10), 20))
    found.command(pause(day(5), 20))
    found.command(command(CommandKind.PAUSE_CANCEL, day(12)))
    assert found.results.verdicts[-1].paused_until is None


# --- servers that come and go ---


def test_a_command_for_a_server_that_is_forgotten_by_then_is_refused() -> None:
    found = run(connection(DETECTED))
    found.command(command(CommandKind.PAUSE_SERVER, day(401), days=3, server=SERVER))
    assert audit(found) == [("REFUSED", 90)]


def test_a_duplicate_counts_once_also_when_many_others_are_between() -> None:
    events = [connection(DETECTED + number) for number in range(RECENT_EVENTS)]
    found = run(*events, events[0], DETECTED + DAY_MS)
    assert row(found).connections == RECENT_EVENTS


def test_a_policy_that_observes_for_a_while_stops_the_clock_and_ends_no_episode() -> None:
    observes, enforces = policy(85, mode=Mode.OBSERVE), policy(86)
    found = run(connection(DETECTED), day(85.5), policies=(FIRST, observes, enforces))
    assert found.results.verdicts[-1].action is Action.ACCEPT
    found.feed(connection(day(87)))
    last = found.results.verdicts[-1]
    assert (last.stage, last.action, last.detected_at) == (7, Action.BLOCK, DETECTED)
    assert last.schedule[0].starts_at == day(91)
    assert "SERVER_RESOLVED" not in kinds(found)


def test_a_server_that_leaves_the_scope_is_not_called_accepted_again() -> None:
    found = run(connection(DETECTED), day(6), policies=(FIRST, policy(5, cohort_percent=0)))
    (resolved,) = told(found, NotificationKind.SERVER_RESOLVED)
    assert "accepted again" not in resolved.title


def test_two_vulnerable_builds_in_turn_give_no_verdict_per_connection() -> None:
    found = run(*(connection(DETECTED + number * 1000, (OLD, OLDER)[number % 2]) for number in range(20)))
    assert len(found.results.verdicts) <= 2


# --- command files ---


def _simulated(folder: Path, *commands: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    feed, given, out = folder / "feed.jsonl", folder / "commands.jsonl", folder / "out"
    feed.write_bytes(to_json_line(to_record(connection(DETECTED))))
    given.write_text("".join(json.dumps(one) + "\n" for one in commands))
    code = simulate_command.run(
        argparse.Namespace(
            feed=feed, commands=given, policy=None, catalogue=None, until=iso(day(10)), out=str(out), decisions=False
        )
    )
    assert code == 0
    return {path.stem: [json.loads(line) for line in path.open()] for path in out.iterdir()}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("days", 1.5),
        ("days", "5"),
        ("days", True),
        ("days", 2**31),
        ("role", "ADMIN"),
        ("role", None),
        ("kind", None),
        ("expires_at", "tomorrow"),
        ("server", 5),
    ],
)
def test_a_malformed_command_of_a_known_tenant_and_moment_gets_an_audit_record(
    tmp_path: Path, field: str, value: object
) -> None:
    whole = {
        "command_id": "c1",
        "tenant_id": "contoso",
        "issued_at": iso(day(1)),
        "issued_by": "admin",
        "role": "OPERATOR",
        "kind": "PAUSE_CREATE",
        "days": 5,
    }
    results = _simulated(tmp_path, whole | {field: value})
    (record,) = results["audit"]
    assert (record["command_id"], record["outcome"]) == ("c1", "REFUSED")
    assert field in record["reason"]
    assert [note["kind"] for note in results["notifications"]].count("COMMAND_REFUSED") == 1


def test_an_unknown_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    given = {"command_id": "c1", "tenant_id": "contoso", "issued_at": iso(day(1)), "issued_by": "a", "role": "OPERATOR"}
    (record,) = _simulated(tmp_path, given | {"kind": "PAUSE_FOREVER"})["audit"]
    assert record["outcome"] == "REFUSED"
    assert "PAUSE_FOREVER" in record["reason"]


def test_a_late_connection_gives_no_verdict_that_forgets_the_pause() -> None:
    found = run(connection(DETECTED), connection(day(1)))
    found.command(pause(day(30), 1))
    found.feed(connection(day(30) - 1, OLDER))
    last = found.results.verdicts[-1]
    assert (last.action, last.paused_until) == (Action.ACCEPT, day(31))
    fresh = run(connection(DETECTED, GOOD))
    fresh.command(pause(day(30), 1))
    fresh.feed(connection(day(30) - 1))
    last = fresh.results.verdicts[-1]
    assert (last.action, last.paused_until, last.detected_at) == (Action.ACCEPT, day(31), day(30) - 1)


def test_a_stage_that_a_new_ladder_has_behind_it_is_not_announced_any_more() -> None:
    slow = (Stage(0, 0, 0), Stage(200, 5, 0))
    found = run(connection(DETECTED), day(101), policies=(policy(-1, ladder=slow), policy(100)))
    assert not told(found, NotificationKind.STAGE_UPCOMING)
    assert [note.occurred_at for note in told(found, NotificationKind.STAGE_ENTERED)] == [day(100)]


def test_a_what_if_may_begin_at_the_very_moment_that_a_row_shows() -> None:
    found = run(connection(DETECTED), connection(day(35)), connection(day(65)), policies=(FIRST,))
    slow = replace(FIRST, policy_id="slow", ladder=(Stage(0, 0, 0), Stage(60, 60, 0), Stage(120, 0, 60)))
    at = row(found).reported_at
    switched = with_policy([FIRST], slow, datetime.fromtimestamp(at / 1000, UTC))
    catalogue = shipped_catalogue()
    outlook = predict(row(found), Rulebook((FIRST,), catalogue), Rulebook(switched, catalogue), at)
    assert (outlook.before.action, outlook.after.action) == (Action.BLOCK, Action.THROTTLE)


def test_a_what_if_may_begin_at_the_very_moment_at_which_a_policy_in_force_began() -> None:
    at = datetime.fromtimestamp(day(40) / 1000, UTC)
    second = replace(FIRST, version=2, effective_at=at)
    other = replace(FIRST, policy_id="other")
    assert [policy.policy_id for policy in with_policy([FIRST, second], other, at)] == [FIRST.policy_id, "other"]


def test_a_what_if_knows_what_a_server_shows_behind_its_override() -> None:
    found = run(connection(DETECTED, None), policies=(FIRST,))
    found.command(override(day(1), OLD, day(20)))
    found.advance(day(10))
    rulebook = Rulebook((FIRST,), shipped_catalogue())
    outlook = predict(row(found), rulebook, rulebook, day(40))
    assert (outlook.after.finding, outlook.after.stage) == ("NOT_EXCHANGE", 0)
