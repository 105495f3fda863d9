"""An episode to the millisecond: what its moments begin and end, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.domain.exchange.catalogue import Remedy
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.judgement import Finding, Judgement
from streams.domain.policy.ladder import ClockStop
from streams.domain.policy.policy import Mode, Policy, Stage
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.decide import decide
from streams.domain.server.sighting import detect_server
from streams.domain.server.wording import remedy_sentence
from streams.domain.tenant.commands import CommandKind
from streams.domain.tenant.waivers import Waivers
from streams.domain.time import DAY_MS, HOUR_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.wire.policy import from_millis
from tests.support.commands import SERVER, command
from tests.support.episodes import DETECTED, GOOD, POLICY, connection, kinds, row, run


def later(at: int, **changed: Any) -> Policy:
    """The policy, changed from a moment on."""
    return replace(POLICY, policy_id="later", effective_at=from_millis(at), **changed)


def test_a_switch_that_changes_nothing_gives_no_verdict_a_millisecond_after_a_pause_ended() -> None:
    ends = DETECTED + 15 * DAY_MS
    policies = replace(POLICY, effective_at=from_millis(DETECTED - DAY_MS)), later(ends + 1)
    (state,) = run(connection(DETECTED), policies=policies).states.values()
    pause = Waivers(pauses=(ClockStop(ends - DAY_MS, ends),))
    found = decide(state, None, Rulebook(policies, shipped_catalogue()), ends + DAY_MS, waivers=pause)
    assert [record.effective_at for record in found.emitted if isinstance(record, Verdict)] == [ends]


def test_an_episode_that_ended_after_a_pause_goes_on_with_the_time_that_counted() -> None:
    day = [DETECTED + number * DAY_MS for number in range(50)]
    found = run(connection(DETECTED))
    found.command(command(CommandKind.PAUSE_CREATE, day[5], days=10))
    found.feed(connection(day[25], GOOD))
    found.feed(connection(day[33]))  # a regression: 15 of 30 days have counted
    assert kinds(found)[-1] == "SERVER_REGRESSED"
    assert (row(found).stage, row(found).next_stage_start_date) == (1, day[48])


def test_a_server_that_was_forgotten_and_comes_back_has_no_verdict_id_twice() -> None:
    found = run(connection(DETECTED), DETECTED + 401 * DAY_MS, connection(DETECTED + 410 * DAY_MS))
    verdicts = found.results.verdicts
    assert [verdict.revision for verdict in verdicts] == list(range(1, len(verdicts) + 1))
    assert len({verdict.verdict_id for verdict in verdicts}) == len(verdicts)


def test_of_two_connections_of_one_moment_the_one_that_comes_last_is_shown() -> None:
    found = run(connection(DETECTED), connection(DETECTED)._replace(source_ip="192.0.2.2"), DETECTED + DAY_MS)
    assert (row(found).connections, row(found).source_ip) == (2, "192.0.2.2")


@pytest.mark.parametrize(("build", "status"), [(None, "NOT_EXCHANGE"), (GOOD, "COMPLIANT")])
def test_a_server_that_was_silent_for_long_is_there_again_with_its_next_connection(
    build: str | None, status: str
) -> None:
    found = run(connection(DETECTED, build), DETECTED + 30 * DAY_MS)
    assert row(found).status == "VANISHED"
    found.feed(connection(DETECTED + 31 * DAY_MS, build))
    assert row(found).status == status


def test_an_exchange_server_that_is_back_after_a_gateway_had_its_name_is_no_longer_called_silent() -> None:
    day = [DETECTED + number * DAY_MS for number in range(50)]
    found = run(connection(DETECTED), *(connection(at, None) for at in day[1:32]))
    assert row(found).status == "VANISHED"
    found.feed(connection(day[32], GOOD))
    assert row(found).status == "RESOLVED"


def test_the_next_stage_is_none_in_which_enforcement_ends() -> None:
    first = replace(POLICY, effective_at=from_millis(DETECTED - DAY_MS))
    stops = replace(first, version=2, mode=Mode.REPORT, effective_at=from_millis(DETECTED + 35 * DAY_MS))
    again = replace(first, version=3, effective_at=from_millis(DETECTED + 36 * DAY_MS))
    found = run(connection(DETECTED), DETECTED + 32 * DAY_MS, policies=(first, stops, again))
    assert [stage.starts_at for stage in found.results.verdicts[-1].schedule[:2]] == [
        DETECTED + 35 * DAY_MS,
        DETECTED + 36 * DAY_MS,
    ]
    assert (row(found).stage, row(found).next_stage_start_date) == (2, DETECTED + 36 * DAY_MS)


def test_a_row_shows_the_pause_of_a_server_that_is_accepted() -> None:
    found = run(connection(DETECTED, GOOD))
    found.command(command(CommandKind.PAUSE_CREATE, DETECTED + DAY_MS, days=10))
    found.feed(connection(DETECTED + 2 * DAY_MS, GOOD))
    assert (row(found).status, row(found).paused_until) == ("COMPLIANT", DETECTED + 11 * DAY_MS)
    found.advance(DETECTED + 12 * DAY_MS)
    assert (row(found).paused_until, found.results.verdicts) == (None, [])


def test_a_late_connection_is_caught_up_to_where_the_clock_of_its_server_stands() -> None:
    day = [DETECTED + number * DAY_MS for number in range(100)]
    found = run(connection(DETECTED, GOOD))
    fields = {"server": SERVER, "owner": "mail", "reason": "moves", "expires_at": day[90]}
    found.command(command(CommandKind.EXCEPTION_GRANT, day[60], **fields))
    assert found.results.verdicts == []
    found.feed(connection(day[20]))
    assert [(verdict.effective_at, verdict.action, verdict.paused_until) for verdict in found.results.verdicts] == [
        (day[20], "ACCEPT", None),
        (day[50], "THROTTLE", None),
        (day[60], "ACCEPT", day[90]),
    ]


def test_after_a_late_connection_a_verdict_shows_the_exception_that_has_begun_meanwhile() -> None:
    day = [DETECTED + number * DAY_MS for number in range(100)]
    found = run(connection(DETECTED, GOOD))
    fields = {"server": SERVER, "owner": "mail", "reason": "moves", "expires_at": day[90]}
    found.command(command(CommandKind.EXCEPTION_GRANT, day[25], **fields))
    found.feed(connection(day[20]))
    assert [(verdict.effective_at, verdict.paused_until) for verdict in found.results.verdicts] == [
        (day[20], None),
        (day[25], day[90]),
    ]


def test_a_new_policy_gives_no_notice_whose_moment_has_just_passed() -> None:
    first = replace(POLICY, effective_at=from_millis(DETECTED - DAY_MS))
    for ahead, notices in ((1, 1), (0, 2)):
        at = DETECTED + 27 * DAY_MS + ahead
        found = run(connection(DETECTED), at + DAY_MS, policies=(first, later(at, notify_before_days=(3,))))
        assert kinds(found).count("STAGE_UPCOMING") == notices


def test_the_first_verdict_of_a_server_has_revision_one() -> None:
    rulebook = Rulebook((POLICY,), shipped_catalogue())
    found = decide(None, detect_server(connection(DETECTED)), rulebook, DETECTED)
    assert [record.revision for record in found.emitted if isinstance(record, Verdict)] == [1]


def test_a_server_that_a_policy_left_out_for_a_while_has_not_regressed() -> None:
    first = replace(POLICY, effective_at=from_millis(DETECTED - DAY_MS))
    out = later(DETECTED + 5 * DAY_MS, cohort_percent=0)
    again = replace(first, version=3, effective_at=from_millis(DETECTED + 6 * DAY_MS))
    found = run(connection(DETECTED), connection(DETECTED + 6 * DAY_MS + 1), policies=(first, out, again))
    assert [kind for kind in kinds(found) if kind != "POLICY_ANNOUNCED"] == [
        "SERVER_DETECTED",
        "SERVER_RESOLVED",
        "SERVER_DETECTED",
    ]


def test_another_refused_build_is_told_a_day_after_it_was_seen() -> None:
    found = run(connection(DETECTED), connection(DETECTED + 2 * HOUR_MS, "15.1.2507.44"))
    due = DETECTED + 26 * HOUR_MS
    found.advance(due - 1)
    assert len(found.results.verdicts) == 1
    found.advance(due)
    assert [(verdict.effective_at, str(verdict.build)) for verdict in found.results.verdicts][1:] == [
        (due, "15.1.2507.44")
    ]


def test_a_refused_server_is_reported_also_under_a_policy_without_episodes() -> None:
    found = run(connection(DETECTED), policies=(replace(POLICY, mode=Mode.OBSERVE),))
    assert (row(found).status, row(found).stage) == ("REPORTED", 0)


def test_a_ladder_that_only_throttles_has_both_templates() -> None:
    found = run(connection(DETECTED), policies=(replace(POLICY, ladder=(Stage(0, 0, 0), Stage(9, 5, 0))),))
    (verdict,) = found.results.verdicts
    assert None not in (verdict.smtp_template_throttle, verdict.smtp_template_block)


def test_a_remedy_without_an_article_is_named_alone() -> None:
    judged = Judgement(Finding.OUT_OF_DATE, "", remedy=Remedy("Exchange Server 2016 CU23", ""))
    assert remedy_sentence(judged) == " Install Exchange Server 2016 CU23."


def test_of_a_long_line_the_first_2000_characters_are_kept_as_evidence() -> None:
    line = connection(DETECTED).received[0]
    for length in (2_000, 2_001):
        found = run(connection(DETECTED)._replace(received=(line + " " + "x" * (length - len(line) - 1),)))
        evidence = row(found).evidence
        assert evidence is not None
        assert len(evidence.received or "") == 2_000
