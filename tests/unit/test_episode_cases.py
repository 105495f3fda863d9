"""Sequences of connections, policies and commands that once ended in wrong dates, notices or episodes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from streams.cli.simulate import read_commands, read_connection
from streams.domain.outputs.notification import AdminNotification
from streams.domain.outputs.server_report import ServerReport
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import Rulebook
from streams.domain.time import iso
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Results, simulate
from streams.wire.records import parse_moment

CASES = Path(__file__).parents[1] / "data" / "cases"


def run(folder: str, until: str) -> Results:
    """The case's feed and commands under its policies, up to a day."""
    policies = tuple(read_policy(str(path)) for path in sorted((CASES / "rules" / folder).glob("policy-*.yaml")))
    return feed(CASES / "rules" / folder / "feed.jsonl", CASES / "rules" / folder / "commands.jsonl", until, policies)


def feed(connections: Path, commands: Path | None, until: str, policies: tuple[Policy, ...]) -> Results:
    lines = connections.read_bytes().splitlines()
    return simulate(
        [partial(read_connection, line) for line in lines],
        Rulebook(policies, shipped_catalogue()),
        parse_moment("until", f"{until}T00:00:00Z"),
        lambda error: pytest.fail(str(error)),
        read_commands(str(commands) if commands else None)[0],
    )


def told(results: Results, kind: str, server: str | None = None) -> list[AdminNotification]:
    return [row for row in results.notifications if row.kind == kind and server in (None, row.server)]


def days(rows: list[AdminNotification]) -> list[str]:
    return [iso(row.occurred_at)[:10] for row in rows]


def only_row(results: Results) -> ServerReport:
    (row,) = results.servers.values()
    return row


def test_a_connection_over_a_connector_that_is_not_judged_does_not_shorten_the_way_to_a_throttle() -> None:
    results = run("stray-connector", "2026-11-13")
    for server in ("stray.a.example", "clean.a.example"):
        assert days(told(results, "SERVER_DETECTED", server)) == ["2026-10-01", "2026-11-12"]
        last = [verdict for verdict in results.verdicts if verdict.server == server][-1]
        assert (last.stage, last.throttle_minutes_per_hour, iso(last.issued_at)[:10]) == (1, 0, "2026-11-12")


def test_what_a_policy_is_told_of_does_not_depend_on_the_last_connection() -> None:
    results = run("notice-at-switch", "2026-10-30")
    of = {
        server: [
            (row.kind, iso(row.occurred_at), row.title.replace(server, ""))
            for row in results.notifications
            if row.server == server
        ]
        for server in ("quiet.a.example", "busy.a.example")
    }
    assert of["quiet.a.example"] == of["busy.a.example"]
    assert days(told(results, "STAGE_UPCOMING", "quiet.a.example")) == ["2026-10-29"]
    assert not any("in 7 days" in row.title for row in results.notifications)


def test_a_stage_is_entered_once_however_a_slower_ladder_catches_up() -> None:
    results = run("stage-entered-again", "2027-04-19")
    assert [row.stage for row in told(results, "STAGE_ENTERED")] == [2, 3, 4, 5, 6, 7, 8]
    ahead = [(row.stage, row.title.partition("ex1.a.example ")[2]) for row in told(results, "STAGE_UPCOMING")]
    assert len([title for stage, title in ahead if (stage, title) == (6, "enters stage 6 in 7 days")]) == 1
    assert (6, "is enforced more strictly in 7 days") in ahead


def test_mail_is_blocked_from_the_day_on_which_it_is() -> None:
    assert iso(only_row(run("blocking-date-same-stage", "2026-11-07")).blocking_enabled_date or 0)[:10] == "2026-11-05"
    assert iso(only_row(run("blocking-date-under-pause", "2026-11-14")).blocking_enabled_date or 0)[:10] == "2026-11-13"


def test_before_a_pause_is_over_the_row_shows_the_day_on_which_mail_will_be_blocked() -> None:
    assert iso(only_row(run("blocking-date-under-pause", "2026-11-12")).blocking_enabled_date or 0)[:10] == "2026-11-13"


def test_a_policy_that_only_reports_throttles_from_no_day_on_and_enters_no_stage() -> None:
    results = run("blocking-date-under-report", "2026-10-30")
    assert (only_row(results).throttle_enabled_date, only_row(results).blocking_enabled_date) == (None, None)
    assert told(results, "STAGE_ENTERED") == []


def test_a_server_that_comes_under_another_connector_is_looked_at_again() -> None:
    results = run("announcement-missing", "2026-10-23")
    assert days(told(results, "POLICY_ANNOUNCED")) == ["2026-10-06"]


@pytest.mark.parametrize("policy", ["microsoft-2026-09", "strict-critical"])
def test_the_lower_stamp_of_a_patched_host_begins_nothing(policy: str) -> None:
    results = feed(CASES / "feeds" / "s25-minimal-half-stamp.jsonl", None, "2026-09-20", (read_policy(policy),))
    assert (results.verdicts, results.notifications) == ([], [])
    assert str(only_row(results).build) == "15.1.2507.69"


def test_a_higher_stamp_holds_for_a_week_and_no_longer() -> None:
    policies = (read_policy("strict-critical"),)
    results = feed(CASES / "feeds" / "s2b-half-stamped-once-mapi.jsonl", None, "2026-10-01", policies)
    # Seen at 08:00 on September 15th, with one message a day at that hour.
    assert [iso(row.occurred_at) for row in told(results, "SERVER_DETECTED")] == ["2026-09-22T08:00:00.000Z"]


def test_builds_in_turns_from_one_host_make_no_verdict() -> None:
    policies = (read_policy("microsoft-2026-09"),)
    results = feed(CASES / "feeds" / "s24-minimal-flap.jsonl", None, "2026-09-20", policies)
    assert (results.verdicts, results.notifications) == ([], [])
    commands = CASES / "feeds" / "s26-flap-while-paused.commands.jsonl"
    paused = feed(CASES / "feeds" / "s26-flap-while-paused.jsonl", commands, "2026-09-20", policies)
    assert (paused.verdicts, [row.kind for row in paused.notifications]) == ([], ["PAUSE_STARTED"])


def test_a_name_that_a_gateway_took_over_vanishes_and_is_not_blocked() -> None:
    policies = (read_policy("microsoft-2026-09"),)
    results = feed(CASES / "feeds" / "s11-name-taken-over-by-postfix.jsonl", None, "2027-01-15", policies)
    assert [(row.action, row.stage) for row in results.verdicts] == [("ACCEPT", 1), ("ACCEPT", 0)]
    assert days(told(results, "SERVER_VANISHED")) == ["2026-10-15"]
    assert told(results, "SERVER_RESOLVED") == told(results, "STAGE_ENTERED") == []
    assert only_row(results).status == "VANISHED"
