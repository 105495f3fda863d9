"""Administrator commands, with quota and dates worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.domain.edge import action_at
from streams.domain.policy.ladder import Action
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.time import DAY_MS, iso
from streams.wire.records import parse_moment, to_json_line, to_record
from tests.support.commands import SERVER, audit, command, pause
from tests.support.episodes import DETECTED, GOOD, OLD, connection, kinds, row, run


def at(text: str) -> int:
    return parse_moment("at", text)


def test_a_pause_stops_the_clock_and_shows_the_same_date_everywhere() -> None:
    found = run(connection(DETECTED))
    found.command(pause(DETECTED + 10 * DAY_MS, 20))
    paused = found.results.verdicts[-1]
    assert (paused.action, paused.paused_until) == (Action.ACCEPT, DETECTED + 30 * DAY_MS)
    assert next(stage.starts_at for stage in paused.schedule if stage.stage > 1) == DETECTED + 50 * DAY_MS
    assert row(found).throttle_enabled_date == DETECTED + 50 * DAY_MS
    assert row(found).status == "PAUSED"
    found.advance(DETECTED + 50 * DAY_MS)
    assert [verdict.stage for verdict in found.results.verdicts] == [1, 1, 1, 2]
    assert found.results.verdicts[-1].issued_at == DETECTED + 50 * DAY_MS
    assert audit(found) == [("ACCEPTED", 70)]
    assert [kind for kind in kinds(found) if "PAUSE" in kind] == ["PAUSE_STARTED", "PAUSE_ENDING", "PAUSE_ENDED"]


def test_invariant_3_a_paused_server_is_accepted_in_every_minute_also_by_an_edge_on_its_own() -> None:
    found = run(connection(DETECTED), DETECTED + 95 * DAY_MS)
    begun = DETECTED + 95 * DAY_MS
    found.command(pause(begun, 2))
    verdict = found.results.verdicts[-1]
    assert all(action_at(verdict, begun + minute * 60_000) is Action.ACCEPT for minute in range(0, 2 * 24 * 60, 7))
    assert action_at(verdict, begun + 2 * DAY_MS) is Action.BLOCK


def test_a_second_pause_extends_the_running_one() -> None:
    found = run(connection(DETECTED))
    found.command(pause(DETECTED, 5))
    found.command(pause(DETECTED + DAY_MS, 5))
    assert found.results.verdicts[-1].paused_until == DETECTED + 10 * DAY_MS
    assert kinds(found)[-1] == "PAUSE_EXTENDED"
    assert audit(found)[-1] == ("ACCEPTED", 80)


def test_cancelling_gives_unused_whole_days_back() -> None:
    found = run(connection(DETECTED))
    found.command(pause(DETECTED, 10))
    found.command(command(CommandKind.PAUSE_CANCEL, DETECTED + 3 * DAY_MS + 1))
    assert audit(found) == [("ACCEPTED", 80), ("ACCEPTED", 86)]
    last = found.results.verdicts[-1]
    assert last.paused_until is None
    assert last.schedule[0].starts_at == DETECTED + 33 * DAY_MS + 1
    found.command(command(CommandKind.PAUSE_CANCEL, DETECTED + 4 * DAY_MS))
    assert audit(found)[-1] == ("REFUSED", 86)


def test_a_pause_over_new_year_counts_its_days_where_they_fall() -> None:
    found = run(connection(at("2027-12-01T00:00:00Z")))
    found.command(pause(at("2027-12-27T12:00:00Z"), 10))
    assert audit(found) == [("ACCEPTED", 85)]
    assert [found.tenants["contoso"].used_days(year) for year in (2027, 2028)] == [5, 5]
    # Five days of 2028 and half of the one before: 85 more would make half a day more than the year's 90.
    found.command(pause(at("2028-02-01T00:00:00Z"), 85))
    assert audit(found)[-1] == ("REFUSED", 84)
    assert found.results.audit[-1].reason == "days: 85 of 2028: only 84 of 90 days are left in that year"
    found.command(pause(at("2028-02-01T00:00:00Z"), 84))
    assert audit(found)[-1] == ("ACCEPTED", 0)
    found.command(pause(at("2028-12-01T00:00:00Z"), 1))
    assert audit(found)[-1] == ("REFUSED", 0)
    assert "only 0 of 90 days are left" in str(found.results.audit[-1].reason)


def test_a_pause_may_be_as_long_as_the_quotas_of_its_years_allow() -> None:
    found = run(connection(at("2026-11-01T00:00:00Z")))
    found.command(pause(at("2026-11-20T00:00:00Z"), 91))  # 42 days of 2026, 49 of 2027
    assert audit(found)[-1] == ("ACCEPTED", 48)
    assert found.results.verdicts[-1].paused_until == at("2027-02-19T00:00:00Z")
    found.command(pause(at("2026-11-21T00:00:00Z"), 42))
    assert found.results.audit[-1].reason == "days: 42 of 2027: only 41 of 90 days are left in that year"
    found.command(pause(at("2026-11-22T00:00:00Z"), 41))
    assert audit(found)[-1] == ("ACCEPTED", 48)


def test_a_whole_quota_fits_from_the_first_moment_of_a_year_and_to_its_last() -> None:
    for begin, end in (
        ("2027-01-01T00:00:00Z", "2027-04-01T00:00:00Z"),
        ("2028-10-03T00:00:00Z", "2029-01-01T00:00:00Z"),
    ):
        found = run(connection(at(begin) - DAY_MS))
        found.command(pause(at(begin), 90))
        assert audit(found)[-1] == ("ACCEPTED", 0)
        assert found.results.verdicts[-1].paused_until == at(end)


def test_a_day_of_a_server_pause_that_loses_its_cover_after_it_began_costs_a_day() -> None:
    found = run(connection(at("2026-12-31T00:00:00Z")))
    found.command(pause(at("2027-01-01T00:00:00Z"), 2))
    found.command(command(CommandKind.PAUSE_SERVER, at("2027-01-01T23:00:00Z"), days=1, server=SERVER))
    found.command(command(CommandKind.PAUSE_CANCEL, at("2027-01-01T23:01:00Z")))
    assert audit(found) == [("ACCEPTED", 88), ("ACCEPTED", 88), ("ACCEPTED", 88)]
    assert found.results.verdicts[-1].paused_until == at("2027-01-02T23:00:00Z")


def test_a_server_pause_that_cannot_be_paid_ends_with_the_cover_and_is_told() -> None:
    found = run(connection(DETECTED))
    found.command(pause(DETECTED, 89))
    found.command(command(CommandKind.PAUSE_SERVER, DETECTED, days=2, server=SERVER))
    found.command(pause(DETECTED, 1))
    found.advance(DETECTED + 89 * DAY_MS)
    found.command(command(CommandKind.PAUSE_SERVER, DETECTED + 89 * DAY_MS + 1, days=1, server=SERVER))
    assert audit(found)[-1] == ("REFUSED", 0)  # an hour of it would be uncovered
    found = run(connection(DETECTED))
    found.command(pause(DETECTED, 90))
    found.command(command(CommandKind.PAUSE_SERVER, DETECTED + 88 * DAY_MS + 1, days=1, server=SERVER))
    found.command(command(CommandKind.PAUSE_CANCEL, DETECTED + 89 * DAY_MS + 1))
    assert audit(found)[-1] == ("ACCEPTED", 0)
    assert found.results.verdicts[-1].paused_until is None
    (ended,) = [note for note in found.results.notifications if note.kind == "PAUSE_ENDED"]
    assert (ended.server, ended.occurred_at) == (SERVER, DETECTED + 89 * DAY_MS + 1)


def test_a_cancel_that_comes_late_gives_no_day_back_that_the_edge_has_honoured() -> None:
    found = run(connection(DETECTED))
    found.command(pause(DETECTED, 10))
    found.command(command(CommandKind.PAUSE_CANCEL, DETECTED + 6 * DAY_MS, server=SERVER))  # refused
    found.command(command(CommandKind.PAUSE_CANCEL, DETECTED + DAY_MS))
    assert audit(found)[-1] == ("ACCEPTED", 84)
    assert found.tenants["contoso"].waivers_of(SERVER).pauses == ((DETECTED, DETECTED + 6 * DAY_MS),)


def test_a_pause_for_a_tenant_nobody_has_seen_is_accepted_with_a_note_and_holds_for_the_first_server() -> None:
    found = run()
    found.command(pause(DETECTED, 5, reason="moves"))
    assert audit(found) == [("ACCEPTED", 85)]
    assert found.results.audit[0].reason == (
        "moves; no server of tenant 'contoso' is known yet: the pause applies to future servers"
    )
    assert "no server of tenant" in found.results.notifications[0].text
    found.feed(connection(DETECTED + DAY_MS))
    assert found.results.verdicts[-1].paused_until == DETECTED + 5 * DAY_MS
    found.command(pause(DETECTED + DAY_MS, 5))
    assert found.results.audit[-1].reason is None


def test_a_leap_day_is_a_day_like_any_other() -> None:
    found = run(connection(at("2028-02-01T00:00:00Z")))
    found.command(pause(at("2028-02-28T00:00:00Z"), 2))
    assert found.results.verdicts[-1].paused_until == at("2028-03-01T00:00:00Z")


def test_a_server_pause_costs_only_what_the_tenant_pause_does_not_cover() -> None:
    found = run(connection(DETECTED), connection(DETECTED, host="mx2.example.com"))
    found.command(pause(DETECTED, 4))
    found.command(command(CommandKind.PAUSE_SERVER, DETECTED + DAY_MS, days=5, server=SERVER))
    assert audit(found)[-1] == ("ACCEPTED", 84)
    found.advance(DETECTED + 5 * DAY_MS)
    until = {name: report.paused_until for (_, name), report in found.results.servers.items()}
    assert until == {SERVER: DETECTED + 6 * DAY_MS, "mx2.example.com": None}


def test_a_server_pause_pays_for_itself_once_the_tenant_pause_is_cancelled() -> None:
    found = run(connection(DETECTED), connection(DETECTED, host="mx2.example.com"))
    found.command(pause(DETECTED, 90))
    found.command(command(CommandKind.PAUSE_SERVER, DETECTED, days=60, server=SERVER))
    found.command(command(CommandKind.PAUSE_SERVER, DETECTED, days=60, server="mx2.example.com"))
    assert audit(found)[-1] == ("ACCEPTED", 0)
    found.command(command(CommandKind.PAUSE_CANCEL, DETECTED + 10 * DAY_MS))
    # 10 days of the tenant, 50 of the first server; the second one gets the 30 that are left and ends then.
    assert audit(found)[-1] == ("ACCEPTED", 0)
    until = {name: report.paused_until for (_, name), report in found.results.servers.items()}
    assert until == {SERVER: DETECTED + 60 * DAY_MS, "mx2.example.com": DETECTED + 40 * DAY_MS}


def test_an_exception_holds_outside_of_the_quota_until_it_expires() -> None:
    found = run(connection(DETECTED))
    ends = DETECTED + 200 * DAY_MS
    found.command(
        command(
            CommandKind.EXCEPTION_GRANT, DETECTED + DAY_MS, server=SERVER, owner="mail", reason="moves", expires_at=ends
        )
    )
    assert audit(found) == [("ACCEPTED", 90)]
    assert row(found).status == "EXEMPT"
    found.advance(ends)
    assert kinds(found)[-1] == "EXCEPTION_EXPIRED"
    assert found.results.verdicts[-1].schedule[0].starts_at == ends + 29 * DAY_MS


def test_an_exception_can_be_revoked() -> None:
    found = run(connection(DETECTED))
    ends = DETECTED + 200 * DAY_MS
    granted = {"server": SERVER, "owner": "mail", "reason": "moves", "expires_at": ends}
    found.command(command(CommandKind.EXCEPTION_GRANT, DETECTED, **granted))
    found.command(command(CommandKind.EXCEPTION_REVOKE, DETECTED + 7 * DAY_MS, server=SERVER))
    assert kinds(found)[-1] == "EXCEPTION_REVOKED"
    assert found.results.verdicts[-1].schedule[0].starts_at == DETECTED + 37 * DAY_MS
    found.advance(ends)
    assert "EXCEPTION_EXPIRED" not in kinds(found)


def test_an_override_judges_as_another_build_until_a_higher_stamp_is_seen() -> None:
    found = run(connection(DETECTED))
    fields = {"server": SERVER, "build": GOOD, "reason": "stamp", "expires_at": DETECTED + 200 * DAY_MS}
    found.command(command(CommandKind.OVERRIDE_BUILD, DETECTED + DAY_MS, **fields))
    assert found.results.verdicts[-1].stage == 0
    found.feed(connection(DETECTED + 2 * DAY_MS, OLD))
    assert found.results.verdicts[-1].stage == 0
    assert (str(row(found).build), str(row(found).override_build)) == (OLD, GOOD)
    found.feed(connection(DETECTED + 3 * DAY_MS, "15.1.2507.63"))
    assert kinds(found)[-1] == "OVERRIDE_ENDED"
    found.feed(connection(DETECTED + 9 * DAY_MS, OLD))
    assert found.results.verdicts[-1].stage == 0  # the higher stamp still holds
    found.feed(connection(DETECTED + 10 * DAY_MS, OLD))
    assert found.results.verdicts[-1].stage == 1


def test_an_override_expires() -> None:
    found = run(connection(DETECTED))
    fields = {"server": SERVER, "build": GOOD, "reason": "stamp", "expires_at": DETECTED + 11 * DAY_MS}
    found.command(command(CommandKind.OVERRIDE_BUILD, DETECTED + DAY_MS, **fields))
    found.advance(DETECTED + 11 * DAY_MS)
    last = found.results.verdicts[-1]
    assert (last.stage, last.issued_at, last.detected_at) == (1, DETECTED + 11 * DAY_MS, DETECTED)
    assert kinds(found)[-2:] == ["OVERRIDE_ENDED", "SERVER_REGRESSED"]


def test_a_command_counts_once() -> None:
    found = run(connection(DETECTED))
    once = pause(DETECTED, 5)
    found.command(once)
    before = (len(found.results.notifications), len(found.results.verdicts))
    found.command(replace(once, issued_at=DETECTED + DAY_MS))
    assert audit(found) == [("ACCEPTED", 85)]
    assert (len(found.results.notifications), len(found.results.verdicts)) == before


def granted(**fields: Any) -> AdminCommand:
    whole = {"server": SERVER, "owner": "mail", "reason": "moves", "expires_at": DETECTED + DAY_MS}
    return command(CommandKind.EXCEPTION_GRANT, DETECTED, **whole | fields)


def overridden(**fields: Any) -> AdminCommand:
    whole = {"server": SERVER, "build": GOOD, "reason": "stamp", "expires_at": DETECTED + DAY_MS}
    return command(CommandKind.OVERRIDE_BUILD, DETECTED, **whole | fields)


@pytest.mark.parametrize(
    ("refused", "names"),
    [
        (pause(DETECTED, 0), "days: 0"),
        (pause(DETECTED, -3), "days: -3"),
        (pause(DETECTED, 91), "days: 91 of 2024: only 90 of 90 days are left in that year"),
        (pause(DETECTED, 2**31 - 1), "days: 2147483647: the pause would end after 2099"),
        (command(CommandKind.PAUSE_CREATE, DETECTED), "days: None"),
        (command(CommandKind.PAUSE_CANCEL, DETECTED), "no pause is active"),
        (command(CommandKind.PAUSE_SERVER, DETECTED, days=1), "server: null"),
        (command(CommandKind.PAUSE_SERVER, DETECTED, days=1, server="mx9.example.com"), "is unknown"),
        (granted(role=Role.TENANT_ADMIN), "role: TENANT_ADMIN"),
        (granted(owner=None), "owner: None"),
        (granted(reason=""), "reason: ''"),
        (granted(expires_at=None), "expires_at: None"),
        (granted(expires_at=DETECTED), f"expires_at: {iso(DETECTED)}: must be after issued_at"),
        (granted(expires_at=10**15), "expires_at: 1000000000000000"),
        (command(CommandKind.EXCEPTION_REVOKE, DETECTED, server=SERVER), "no exception is active"),
        (overridden(build="15.1.2507.9999"), "is not in the catalogue"),
        (overridden(build="new"), "'new'"),
        (command(CommandKind.UNKNOWN, DETECTED), "kind: UNKNOWN"),
    ],
)
def test_a_refused_command_names_why_and_changes_nothing(refused: AdminCommand, names: str) -> None:
    found = run(connection(DETECTED))
    before = len(found.results.verdicts)
    found.command(refused)
    assert audit(found) == [("REFUSED", 90)]
    assert names in str(found.results.audit[0].reason)
    assert kinds(found)[-1] == "COMMAND_REFUSED"
    assert len(found.results.verdicts) == before
    record = found.results.audit[0]
    assert record.before == record.after


@pytest.mark.parametrize("name", ["issued_by", "server", "owner", "reason", "build", "malformed"])
def test_a_text_of_any_length_is_refused_by_name_and_makes_no_large_record(name: str) -> None:
    found = run(connection(DETECTED))
    found.command(granted(**{name: "x" * 900_000}))
    (record,) = found.results.audit
    assert record.outcome == "REFUSED"
    assert str(record.reason).startswith("x" * 80 if name == "malformed" else f"{name}: 'xxx")
    assert max(len(to_json_line(to_record(item))) for item in (record, found.results.notifications[-1])) < 5_000


def test_a_name_that_only_its_one_spelling_makes_too_long_is_refused() -> None:
    """Cut, it would be the name of another server."""
    name = ".".join(["ü" * 40] * 6)
    found = run(connection(DETECTED, host="mx1.example.com"))
    found.command(granted(server=name))
    assert len(name) < 255
    assert str(found.results.audit[0].reason).startswith("server: 'xn--")
    assert "must be at most 255 characters" in str(found.results.audit[0].reason)


def test_an_exception_granted_again_takes_the_place_of_the_one_that_holds() -> None:
    found = run(connection(DETECTED))
    for number in range(100):
        fields = {"server": SERVER, "owner": f"mail{number}", "reason": "moves", "expires_at": DETECTED + 50 * DAY_MS}
        found.command(command(CommandKind.EXCEPTION_GRANT, DETECTED + number, **fields))
    (kept,) = found.tenants["contoso"].exceptions[SERVER]
    assert (kept.starts_at, kept.ends_at, kept.owner) == (DETECTED, DETECTED + 50 * DAY_MS, "mail99")
    assert audit(found) == [("ACCEPTED", 90)] * 100
