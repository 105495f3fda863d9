"""View models, without HTTP: dates, evidence, timeline, charts, and what a pause moves."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from streams.domain.policy.ladder import Clock, ClockStop, schedule
from streams.domain.tenant.pauses import pause_tenant
from streams.domain.tenant.quota import year_of
from streams.domain.tenant.state import TenantEnforcement
from streams.domain.time import DAY_MS, HOUR_MS
from streams.report.model.ahead import first_stages
from streams.report.page.charts import HEIGHT, connections_chart, servers_chart
from streams.report.page.outlook import outlook
from streams.report.page.pausing import move_stages, preview_pause
from streams.report.page.timeline import Tense, timeline
from streams.report.page.why import article_path
from streams.report.queries.episodes import Ahead
from streams.report.queries.history import Day
from streams.report.queries.pauses import PAUSE, Pauses, Waiver, quota_left
from streams.texts.header_lines import mark_build
from streams.texts.languages import language_of
from streams.texts.status_words import Rates, change_words, count_by_words, rate_words, status_words
from tests.support.page_world import LADDER, NOW, life_of
from tests.support.report import START

EN, ES, DE = (language_of(code) for code in ("en", "es", "de"))
NO_PAUSES = Pauses([], None, None)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("RESOLVED", ("up to date", "actualizado", "aktuell")),
        ("REPORTED", ("out of date, not enforced yet", "obsoleto, aún sin medidas", "veraltet, noch ohne Folgen")),
        ("THROTTLED", ("delayed", "con retraso", "verzögert")),
        ("BLOCKED", ("blocked", "bloqueado", "blockiert")),
        ("MIXED", ("several machines", "varias máquinas", "mehrere Maschinen")),
        ("EXEMPT", ("exempt", "exento", "ausgenommen")),
        ("NOT_EXCHANGE", ("not judged", "no evaluado", "nicht bewertet")),
        ("VANISHED", ("not seen since 4 Sept", "sin ver desde el 4 sept", "nicht gesehen seit 4. Sept.")),
        ("INVENTED", ("not judged", "no evaluado", "nicht bewertet")),
    ],
)
def test_statuses_have_their_words(status: str, words: tuple[str, ...]) -> None:
    assert tuple(status_words(language, status, START).word for language in (EN, ES, DE)) == words


@pytest.mark.parametrize(
    ("before", "after", "now", "change"),
    [
        (Rates(10, 0), Rates(20, 0), "delayed 20 min/h", "delayed 10 → 20 minutes per hour"),
        (Rates(0, 0), Rates(5, 0), "delayed 5 min/h", "delayed 5 minutes per hour"),
        (
            Rates(30, 5),
            Rates(30, 10),
            "delayed 30 and blocked 10 min/h",
            "delayed 30 minutes per hour and blocked 5 → 10 minutes per hour",
        ),
        (Rates(30, 20), Rates(0, 60), "all mail blocked", "all mail is blocked"),
        (Rates(0, 0), Rates(0, 0), "accepted", "mail is accepted, the server is reported"),
    ],
)
def test_rates_in_words(before: Rates, after: Rates, now: str, change: str) -> None:
    assert rate_words(EN, after) == now
    assert change_words(EN, before, after) == change


@pytest.mark.parametrize(
    ("line", "build", "expected"),
    [
        (
            "by a (15.1.2507.39) with x id 15.01.2507.039; date",
            "15.1.2507.39",
            ("with x id ", "15.01.2507.039", "; date"),
        ),
        ("by a with x id\r\n\t15.1.2507.39 id 9", "15.1.2507.39", ("id ", "15.1.2507.39", " id 9")),
        ("15.1.2507.39 then 15.1.2507.39.", "15.1.2507.39", ("then ", "15.1.2507.39", ".")),
        ("by 115.1.2507.39 id 15.1.2507.399", "15.1.2507.39", ("2507.399", "", "")),
        ("id 15.1.2507.39 \u202e\x1b[2J", "15.1.2507.39", ("id ", "15.1.2507.39", " \\u202e\\x1b[2J")),
        ("id 15.1.2507.39", None, ("id 15.1.2507.39", "", "")),
    ],
)
def test_the_build_is_marked_in_its_line(line: str, build: str | None, expected: tuple[str, str, str]) -> None:
    found = mark_build(line, build)
    before, marked, after = expected
    assert found.before.endswith(before)
    assert (found.build, found.after) == (marked, after)


@pytest.mark.parametrize("most", [20, 30, 60, 75])
@pytest.mark.parametrize(
    ("before", "after"), [("b" * 40, "a" * 40), ("b" * 70, "a" * 3), ("", "a" * 70), ("b" * 3, "")]
)
def test_what_is_cut_of_a_line_is_what_is_far_from_its_build(before: str, after: str, most: int) -> None:
    line = mark_build(f"{before} 15.1.2507.39 {after}", "15.1.2507.39")
    shown = line.within(most)
    assert shown.build == "15.1.2507.39"
    assert len(shown.text) <= most
    assert (shown == line) is (len(line.text) <= most)
    if len(line.text) > most:
        assert len(shown.text) == most
    assert line.before.endswith(shown.before.removeprefix("…"))
    assert line.after.startswith(shown.after.removesuffix("…"))
    assert mark_build("x" * 90, None).within(most).text == "x" * (most - 1) + "…"


def test_a_timeline_goes_from_the_first_detection_to_the_full_block() -> None:
    report = life_of("ex03", NOW - 48 * DAY_MS)[-1]
    detected = NOW - 48 * DAY_MS
    intervals: list[dict[str, Any]] = [
        {"begins_at": detected + 40 * DAY_MS, "ends_at": None, "status": "THROTTLED", "stage": 3},
        {"begins_at": detected + 30 * DAY_MS, "ends_at": detected + 40 * DAY_MS, "status": "PAUSED", "stage": 2},
        {"begins_at": detected, "ends_at": detected + 30 * DAY_MS, "status": "REPORTED", "stage": 1},
        {"begins_at": detected - DAY_MS, "ends_at": detected, "status": "COMPLIANT", "stage": 0},
    ]
    steps = timeline(report, intervals, NOW)
    assert [(step.tense, step.stage, step.is_gap) for step in steps[:4]] == [
        (Tense.PAST, 1, False),
        (Tense.PAST, 2, True),
        (Tense.PRESENT, 3, False),
        (Tense.FUTURE, 4, False),
    ]
    assert [step.begins_at for step in steps] == sorted(step.begins_at for step in steps)
    assert steps[-1].rates == Rates(0, 60)
    paused = timeline({**report, "paused_until": NOW + DAY_MS}, intervals, NOW)
    assert next(step.begins_at for step in paused if step.tense is Tense.FUTURE) == NOW + DAY_MS


def test_the_dates_that_a_pause_moves_are_those_of_the_schedule() -> None:
    detected = NOW - 48 * DAY_MS
    known = ClockStop(NOW - 20 * DAY_MS, NOW - 15 * DAY_MS)
    coming = ClockStop(NOW + 3 * DAY_MS, NOW + 5 * DAY_MS)
    report = life_of("ex03", detected, stop=known)[-1]
    stages = schedule(LADDER, Clock(0, detected), (known, coming))
    report["standstills"] = [known._asdict(), coming._asdict()]
    report["schedule"] = [{**one._asdict()} for one in stages if one.starts_at > NOW]
    preview = preview_pause(NO_PAUSES, None, 14, NOW, 90)
    expected = schedule(LADDER, Clock(0, detected), (known, coming, ClockStop(NOW, NOW + 14 * DAY_MS)))
    moved = move_stages(report, preview.stop)
    assert len(moved) >= 4
    assert [one.after for one in moved] == [expected[one.stage - 1].starts_at for one in moved]
    assert [one.before for one in moved] == [stages[one.stage - 1].starts_at for one in moved]
    assert move_stages({**report, "clock_started_at": None}, preview.stop) == []


def test_a_pause_over_new_year_costs_days_of_both_years() -> None:
    pauses = Pauses([], 20, NOW - DAY_MS)
    preview = preview_pause(pauses, None, 40, NOW, 90)
    assert [(cost.year, cost.days, cost.left_before) for cost in preview.costs] == [(2026, 35, 20), (2027, 5, 90)]
    assert preview.exceeded == preview.costs[0]
    assert preview_pause(pauses, None, 20, NOW, 90).exceeded is None


def test_a_running_pause_is_extended_and_covers_a_server_s_own() -> None:
    running = Waiver(PAUSE, None, NOW - DAY_MS, NOW + 6 * DAY_MS, "ada", None)
    pauses = Pauses([running], 83, NOW - DAY_MS)
    preview = preview_pause(pauses, None, 3, NOW, 90)
    assert (preview.begins_at, preview.ends_at, preview.extends) == (NOW + 6 * DAY_MS, NOW + 9 * DAY_MS, True)
    engine = pause_tenant(TenantEnforcement("contoso"), NOW - DAY_MS, 7, 90)
    assert pause_tenant(engine, NOW, 3, 90).pauses[0].ends_at == preview.ends_at
    assert pause_tenant(engine, NOW, 3, 90).left_days(year_of(NOW), 90) == preview.costs[0].left_after == 80
    own = preview_pause(pauses, "ex03", 8, NOW, 90)
    assert sum(cost.days for cost in own.costs) == 2
    assert quota_left(pauses, 90, NOW) == 83


def test_a_chart_stacks_what_there_is_and_its_table_says_the_same() -> None:
    days = [
        Day(20_700 + n, {("COMPLIANT", 0): 10, ("THROTTLED", 3): 1, ("BLOCKED", 5): n}, 100, 5, n) for n in range(3)
    ]
    ahead = outlook(days[-1], ahead_of(life_of("ex03", (20_700 - 39) * DAY_MS, 20_702 * DAY_MS)[-1]))
    chart = servers_chart(EN, days, ahead)
    assert [(area.role, area.label and area.label.text) for area in chart.areas] == [
        ("blocked", "2 blocked"),
        ("delayed", "1 delayed"),
        ("good", "10 up to date"),
    ]
    assert chart.outlook_x is not None
    assert chart.heads[0] == "Day"
    assert len(chart.points) == 33
    assert chart.points[2].reading == "6 Sept: 10 up to date, 1 delayed, 2 blocked"
    labels = [area.label for area in chart.areas if area.label]
    assert all(one.y - other.y >= 12 for one, other in itertools.pairwise(labels))
    assert all(0 < label.y < HEIGHT for label in labels)
    connections = connections_chart(EN, days)
    assert connections.rows == [["4 Sept", "0", "5", "100"], ["5 Sept", "1", "5", "100"], ["6 Sept", "2", "5", "100"]]
    assert connections.lines[0].text == "0"
    assert connections.outlook_x is None


def test_a_chart_of_nothing_has_an_axis_and_no_area() -> None:
    chart = servers_chart(EN, [Day(20_700, {}, 0, 0, 0)])
    assert chart.areas == []
    assert [line.text for line in chart.lines] == ["0", "1"]


def test_areas_are_drawn_from_what_is_below_them() -> None:
    days = [Day(20_700 + n, {("BLOCKED", 5): 1 + n}, 0, 0, 0) for n in range(2)]
    assert servers_chart(EN, days).areas[0].path == "M34 148V78H180V8H326V148H34Z"


def ahead_of(report: dict[str, Any], n: int = 1) -> list[Ahead]:
    delayed, blocked = (None if at is None else at // DAY_MS for at in first_stages(report["schedule"]))
    return [Ahead(report["status"], delayed, blocked, n)]


def test_an_outlook_is_of_all_servers_however_many_they_are() -> None:
    today = Day(NOW // DAY_MS, {("REPORTED", 1): 100_000}, 0, 0, 0)
    ahead = [Ahead("REPORTED", today.day + 2, today.day + 4, 70_000), Ahead("REPORTED", today.day + 3, None, 30_000)]
    assert [dict(day.roles) for day in outlook(today, ahead, 4)] == [
        {"reported": 100_000},
        {"reported": 30_000, "delayed": 70_000},
        {"delayed": 100_000},
        {"delayed": 30_000, "blocked": 70_000},
    ]


def test_the_outlook_moves_servers_on_the_days_of_their_stages() -> None:
    today = Day(NOW // DAY_MS, {("THROTTLED", 4): 1, ("COMPLIANT", 0): 2}, 0, 0, 0)
    report = life_of("ex03", NOW - 55 * DAY_MS)[-1]
    blocking = next(one["starts_at"] for one in report["schedule"] if one["block_minutes_per_hour"])
    ahead = outlook(today, ahead_of(report))
    assert len(ahead) == 30
    for day in ahead:
        blocked = int(day.day >= blocking // DAY_MS)
        assert (day.roles.get("blocked", 0), day.roles.get("delayed", 0), day.roles["good"]) == (
            blocked,
            1 - blocked,
            2,
        )
    assert blocking > NOW + HOUR_MS


def test_an_article_is_linked() -> None:
    assert article_path("KB5066369") == "https://support.microsoft.com/help/5066369"


@pytest.mark.parametrize("kb", [None, "", "KB", "KB1?x", "KB\u0661", "javascript:1"])
def test_what_is_no_article_is_not_linked(kb: str | None) -> None:
    assert article_path(kb) is None


def test_statuses_with_one_word_are_counted_together() -> None:
    counts = {"COMPLIANT": 5, "RESOLVED": 2, "OUT_OF_SCOPE": 1, "NEW_STATUS": 3, "BLOCKED": 4}
    found = count_by_words(language_of("en"), counts)
    assert [(words.word, n) for words, n in found] == [("blocked", 4), ("not judged", 4), ("up to date", 7)]
