"""The ladder, its clock and its episodes, with dates worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from streams.domain.edge import action_at
from streams.domain.outputs.notification import AdminNotification
from streams.domain.outputs.server_report import ServerReport
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.ladder import Action
from streams.domain.policy.policy import Mode
from streams.domain.time import DAY_MS, iso
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment
from tests.support.episodes import DETECTED, GOOD, OLD, POLICY, connection, kinds, row, run


def verdicts(simulation: Simulation) -> list[tuple[str, int, str]]:
    return [(row.action.value, row.stage, iso(row.issued_at)) for row in simulation.results.verdicts]


def test_throttle_starts_30_and_block_60_days_after_the_detection_to_the_millisecond() -> None:
    found = run(connection(DETECTED), DETECTED + 100 * DAY_MS)
    assert verdicts(found) == [
        ("ACCEPT", 1, "2024-03-28T00:15:08.000Z"),
        ("THROTTLE", 2, "2024-04-27T00:15:08.000Z"),
        ("THROTTLE", 3, "2024-05-07T00:15:08.000Z"),
        ("THROTTLE", 4, "2024-05-17T00:15:08.000Z"),
        ("BLOCK", 5, "2024-05-27T00:15:08.000Z"),
        ("BLOCK", 6, "2024-06-06T00:15:08.000Z"),
        ("BLOCK", 7, "2024-06-16T00:15:08.000Z"),
        ("BLOCK", 8, "2024-06-26T00:15:08.000Z"),
    ]
    first = found.results.verdicts[0]
    assert [iso(stage.starts_at) for stage in first.schedule] == [at for _, _, at in verdicts(found)[1:]]
    assert row(found).throttle_enabled_date == DETECTED + 30 * DAY_MS
    assert row(found).blocking_enabled_date == DETECTED + 60 * DAY_MS


def test_notices_come_7_and_1_days_ahead() -> None:
    found = run(connection(DETECTED), DETECTED + 30 * DAY_MS)
    told = [
        (note.kind.value, note.stage, (note.occurred_at - DETECTED) // DAY_MS) for note in found.results.notifications
    ]
    assert told == [
        ("SERVER_DETECTED", 1, 0),
        ("STAGE_UPCOMING", 2, 23),
        ("STAGE_UPCOMING", 2, 29),
        ("STAGE_ENTERED", 2, 30),
        ("SERVER_VANISHED", 2, 30),
    ]


def test_the_first_accepted_build_ends_the_episode_at_once() -> None:
    fixed = DETECTED + 65 * DAY_MS + 17
    found = run(connection(DETECTED), connection(fixed, GOOD))
    last = found.results.verdicts[-1]
    assert (last.action, last.stage, last.resolved_at, last.schedule) == (Action.ACCEPT, 0, fixed, ())
    assert kinds(found)[-1] == "SERVER_RESOLVED"
    assert row(found).status == "RESOLVED"


def test_a_regression_within_30_days_goes_on_where_it_stopped() -> None:
    again = DETECTED + 65 * DAY_MS
    found = run(connection(DETECTED), connection(DETECTED + 35 * DAY_MS, GOOD), connection(again))
    last = found.results.verdicts[-1]
    assert (last.stage, last.throttle_minutes_per_hour, last.detected_at) == (2, 5, DETECTED)
    assert [stage.starts_at - again for stage in last.schedule[:2]] == [5 * DAY_MS, 15 * DAY_MS]
    assert kinds(found)[-1] == "SERVER_REGRESSED"


def test_a_later_regression_is_a_new_episode() -> None:
    again = DETECTED + 65 * DAY_MS + 1
    found = run(connection(DETECTED), connection(DETECTED + 35 * DAY_MS, GOOD), connection(again))
    last = found.results.verdicts[-1]
    assert (last.stage, last.action, last.detected_at) == (1, Action.ACCEPT, again)
    assert kinds(found)[-1] == "SERVER_DETECTED"


def test_a_late_event_counts_and_moves_nothing_back() -> None:
    found = run(connection(DETECTED, GOOD), connection(DETECTED - DAY_MS), connection(DETECTED + DAY_MS, GOOD))
    assert not found.results.verdicts
    assert row(found).connections == 3
    back = run(connection(DETECTED), connection(DETECTED - 1, GOOD))
    assert [verdict.stage for verdict in back.results.verdicts] == [1]


def test_a_duplicate_is_not_counted() -> None:
    once = connection(DETECTED)
    found = run(once, once, DETECTED + DAY_MS)
    assert row(found).connections == 1


def test_no_build_takes_nothing_back() -> None:
    found = run(connection(DETECTED), connection(DETECTED + 1, None), DETECTED + DAY_MS)
    assert [verdict.stage for verdict in found.results.verdicts] == [1]
    assert row(found).finding == "OUT_OF_DATE"


def test_a_gateway_is_inventoried_and_never_judged() -> None:
    found = run(connection(DETECTED, None), DETECTED + 100 * DAY_MS)
    assert not found.results.verdicts
    assert not found.results.notifications
    assert row(found).finding == "NOT_EXCHANGE"


def test_a_raised_floor_starts_a_new_episode_at_the_first_event_under_it() -> None:
    earlier = replace(read_policy("microsoft-2023"), effective_at=POLICY.effective_at.replace(year=2024, month=1))
    switch = parse_moment("at", "2026-09-01T00:00:00Z")
    before, after = connection(switch - DAY_MS), connection(switch + 5)
    found = run(before, switch + 1, after, policies=(earlier, POLICY))
    assert verdicts(found) == [("ACCEPT", 1, iso(switch + 5))]


def test_a_relaxed_policy_releases_at_its_first_moment() -> None:
    relaxed = replace(read_policy("microsoft-2023"), effective_at=POLICY.effective_at.replace(month=11))
    strict = replace(POLICY, effective_at=POLICY.effective_at.replace(year=2024))
    begun = parse_moment("at", "2026-08-01T00:00:00Z")
    found = run(connection(begun), begun + 120 * DAY_MS, policies=(strict, relaxed))
    assert verdicts(found)[-1] == ("ACCEPT", 0, "2026-11-01T00:00:00.000Z")


@pytest.mark.parametrize(
    ("mode", "count_of_verdicts", "first_kind"), [(Mode.REPORT, 1, "SERVER_DETECTED"), (Mode.OBSERVE, 0, None)]
)
def test_a_policy_that_only_reports_or_observes_never_throttles(
    mode: Mode, count_of_verdicts: int, first_kind: str | None
) -> None:
    found = run(connection(DETECTED), DETECTED + 200 * DAY_MS, policies=(replace(POLICY, mode=mode),))
    assert len(found.results.verdicts) == count_of_verdicts
    assert all(verdict.action is Action.ACCEPT and not verdict.schedule for verdict in found.results.verdicts)
    assert next(iter(kinds(found)), None) == first_kind


def test_a_silent_server_vanishes_once_and_is_forgotten() -> None:
    found = run(connection(DETECTED), DETECTED + 399 * DAY_MS)
    assert kinds(found).count("SERVER_VANISHED") == 1
    assert row(found).status == "BLOCKED"
    found.advance(DETECTED + 400 * DAY_MS)
    assert not found.results.servers
    assert not found.states
    found.feed(connection(DETECTED + 500 * DAY_MS))
    assert len({verdict.verdict_id for verdict in found.results.verdicts}) == 9


def test_an_edge_follows_the_schedule_inside_the_verdict() -> None:
    verdict = run(connection(DETECTED)).results.verdicts[0]
    day_95 = DETECTED + 95 * DAY_MS
    assert all(action_at(verdict, day_95 + minute * 60_000) is Action.BLOCK for minute in range(60))
    on_day_65 = [action_at(verdict, DETECTED + 65 * DAY_MS + minute * 60_000) for minute in range(60)]
    assert (on_day_65.count(Action.BLOCK), on_day_65.count(Action.THROTTLE)) == (5, 30)


def test_replies_name_minutes_server_builds_and_date() -> None:
    found = run(connection(DETECTED), DETECTED + 60 * DAY_MS)
    last = found.results.verdicts[-1]
    assert last.smtp_reply_throttle is not None
    assert last.smtp_reply_throttle.startswith(
        "450 4.7.230 Connecting Exchange server version is out-of-date; "
        "connection to Exchange Online throttled for 30 mins/hr. mx1.example.com runs 15.1.2507.39"
    )
    assert last.smtp_reply_block is not None
    assert last.smtp_reply_block.startswith("550 5.7.230 ")
    assert "blocked for 5 mins/hr." in last.smtp_reply_block
    assert "2024-06-06T00:15:08.000Z" in last.smtp_reply_block


def everything(simulation: Simulation) -> tuple[Sequence[Verdict | AdminNotification | ServerReport], ...]:
    results = simulation.results
    return results.verdicts, results.notifications, list(results.servers.values())


def test_invariant_8_two_servers_or_tenants_never_influence_each_other() -> None:
    mine = [
        connection(DETECTED + day * DAY_MS, OLD if day < 50 else GOOD, event_id=f"m{day}") for day in range(0, 60, 7)
    ]
    others = [
        connection(DETECTED + day * DAY_MS, tenant=tenant, host=host)
        for day in range(90)
        for tenant, host in (("contoso", "mx2.example.com"), ("fabrikam", "mx1.example.com"))
    ]
    end = DETECTED + 120 * DAY_MS
    alone = everything(run(*mine, end))
    mixed = run(*others, *mine, end)
    for own, all_of_them in zip(alone, everything(mixed), strict=True):
        assert own == [r for r in all_of_them if (r.tenant_id, r.server) == ("contoso", "mx1.example.com")]
