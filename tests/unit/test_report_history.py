"""What the report's history makes of servers' reports: connections by day, statuses by day, intervals."""

from __future__ import annotations

from typing import Any

from streams.domain.keys import ServerKey
from streams.domain.time import DAY_MS, HOUR_MS
from streams.report.model.servers import ACCEPTED, CHANGE, DELAYED, REFUSED, DayKey, ServerFold
from tests.support.report import START, report_record

KEY = ServerKey("contoso", "mx1.contoso.com")
DAY = START // DAY_MS


def taken(*records: dict[str, Any], is_news: bool = True) -> ServerFold:
    fold = ServerFold({})
    for record in records:
        fold.take(KEY, record, record["reported_at"], is_news=is_news)
    return fold


def at(hours: float, accepted: int = 0, deferred: int = 0, rejected: int = 0, **changes: Any) -> dict[str, Any]:
    moment = START + round(hours * HOUR_MS)
    return report_record(at=moment, accepted=accepted, deferred=deferred, rejected=rejected, **changes)


def connections(fold: ServerFold, column: int = ACCEPTED) -> dict[int, int]:
    """Connections by day, the first day being 0."""
    found: dict[int, int] = {}
    for key, row in fold.days.items():
        found[key.day - DAY] = found.get(key.day - DAY, 0) + row[column]
    return {day: count for day, count in found.items() if count}


def servers(fold: ServerFold, day: int) -> dict[str, int]:
    """How many servers had a status at the end of a day."""
    found: dict[str, int] = {}
    for key, row in fold.days.items():
        if key.day - DAY <= day:
            found[key.status] = found.get(key.status, 0) + row[CHANGE]
    return {status: n for status, n in found.items() if n}


def now_of(fold: ServerFold) -> tuple[str, int]:
    """What holds now, and since when."""
    facts = fold.facts[KEY]
    assert facts is not None
    return facts.status, facts.since


def test_a_day_has_what_the_counters_gained_on_it() -> None:
    fold = taken(at(0, 1, 2, 3), at(5, 4, 2, 3), at(25, 6, 5, 9))
    assert connections(fold) == {0: 4, 1: 2}
    assert connections(fold, DELAYED) == {0: 2, 1: 3}
    assert connections(fold, REFUSED) == {0: 3, 1: 6}


def test_counters_that_began_anew_count_from_nothing_and_never_backwards() -> None:
    fold = taken(at(0, 100, 50), at(30, 3, 60), at(50, 7, 61))
    assert connections(fold) == {0: 100, 1: 3, 2: 4}
    assert connections(fold, DELAYED) == {0: 50, 1: 60, 2: 1}


def test_a_report_that_comes_again_counts_nothing() -> None:
    assert connections(taken(at(0, 5), at(0, 5), at(1, 6), at(0, 5), at(1, 6))) == {0: 6}


def test_a_worker_that_writes_its_reports_again_counts_nothing_twice() -> None:
    first = [at(hour, 10 * (hour + 1)) for hour in range(30)]
    again = [at(hour, 10 * (hour + 1)) for hour in range(30)]
    assert connections(taken(*first, *again, at(30, 305))) == {0: 240, 1: 65}


def test_a_worker_that_counts_again_from_a_part_of_its_input_counts_only_what_is_new() -> None:
    first = [at(hour, 10 * (hour + 1)) for hour in range(30)]
    rest = [at(hour, 10 * (hour - 19)) for hour in range(20, 30)]
    assert connections(taken(*first, *rest, at(30, 101))) == {0: 240, 1: 61}


def test_a_late_connection_counts_though_its_report_shows_no_later_moment() -> None:
    assert connections(taken(at(0, 1), at(5, 2), at(3, 3), at(6, 4))) == {0: 4}


def test_what_an_old_server_had_before_it_was_known_is_of_no_day() -> None:
    old = at(100, 5000, first_seen_at=START)
    assert connections(taken(old, at(101, 5002))) == {4: 2}


def test_what_a_carried_history_knows_is_not_counted_again() -> None:
    assert connections(taken(at(1, 3), is_news=False)) == {}
    assert connections(taken(at(1, 3), at(2, 5), is_news=False)) == {0: 2}


def test_every_day_has_the_servers_by_where_they_stood_at_its_end() -> None:
    fold = taken(
        at(0, status="REPORTED"),
        at(24, status="THROTTLED", stage=1),
        at(30, status="THROTTLED", stage=2),
        at(72, status="COMPLIANT"),
    )
    assert [servers(fold, day) for day in range(5)] == [
        {"REPORTED": 1},
        {"THROTTLED": 1},
        {"THROTTLED": 1},
        {"COMPLIANT": 1},
        {"COMPLIANT": 1},
    ]
    assert fold.days[DayKey("contoso", DAY + 1, "THROTTLED", 2)][CHANGE] == 1
    assert fold.counts == {("contoso", "REPORTED"): 0, ("contoso", "THROTTLED"): 0, ("contoso", "COMPLIANT"): 1}


def test_a_forgotten_server_leaves_the_days_from_then_on() -> None:
    fold = taken(at(0, status="VANISHED"))
    fold.forget(KEY, START + 50 * HOUR_MS)
    fold.forget(KEY, START + 51 * HOUR_MS)
    assert [servers(fold, day) for day in range(4)] == [{"VANISHED": 1}, {"VANISHED": 1}, {}, {}]
    assert fold.facts[KEY] is None
    (interval,) = fold.ended.values()
    assert interval.ends_at == START + 50 * HOUR_MS


def test_intervals_follow_one_another_without_gaps() -> None:
    records = [at(0), at(1), at(2, build="15.1.2507.61", finding="COMPLIANT", status="COMPLIANT"), at(3), at(4)]
    fold = taken(*records)
    assert [(one.begins_at, one.ends_at, one.status) for one in sorted(fold.ended.values())] == [
        (START, START + 2 * HOUR_MS, "REPORTED"),
        (START + 2 * HOUR_MS, START + 3 * HOUR_MS, "COMPLIANT"),
    ]
    assert now_of(fold) == ("REPORTED", START + 3 * HOUR_MS)


def test_what_held_for_no_time_is_in_no_interval() -> None:
    records = [at(0), at(1, status="THROTTLED"), at(1, status="BLOCKED")]
    fold = taken(*records)
    assert [(one.begins_at, one.ends_at, one.status) for one in fold.ended.values()] == [
        (START, START + HOUR_MS, "REPORTED")
    ]
    assert now_of(fold) == ("BLOCKED", START + HOUR_MS)


LIFE: tuple[tuple[int, dict[str, Any]], ...] = (
    (0, {"status": "REPORTED"}),
    (24, {"status": "THROTTLED", "stage": 2}),
    (48, {"status": "BLOCKED", "stage": 8}),
)


def lived(fold: ServerFold, written_at: int) -> None:
    """A server's reports, written at once, and then its tombstone."""
    for number, (hours, changes) in enumerate(LIFE):
        record = at(hours, 10 * (number + 1), **changes)
        fold.take(KEY, record, max(record["reported_at"], written_at))
    fold.forget(KEY, max(START + 80 * HOUR_MS, written_at))


def test_a_worker_that_writes_the_life_of_a_forgotten_server_again_changes_nothing() -> None:
    once, again = ServerFold({}), ServerFold({})
    lived(once, START)
    for written_at in (START, START + 200 * HOUR_MS, START + 205 * HOUR_MS):
        lived(again, written_at)
    assert connections(again) == connections(once) == {0: 10, 1: 10, 2: 10}
    assert again.ended == once.ended
    assert [servers(again, day) for day in range(10)] == [servers(once, day) for day in range(10)]
    assert again.counts == once.counts


def test_a_forgotten_server_that_comes_back_counts_from_nothing() -> None:
    fold = ServerFold({})
    lived(fold, START)
    record = at(100, 3, first_seen_at=START + 99 * HOUR_MS)
    fold.take(KEY, record, record["reported_at"])
    assert connections(fold) == {0: 10, 1: 10, 2: 10, 4: 3}
    assert now_of(fold) == ("REPORTED", START + 100 * HOUR_MS)
    fold.forget(KEY, START + 130 * HOUR_MS)
    assert [one.ends_at - START for one in sorted(fold.ended.values())][-1] == 130 * HOUR_MS
    assert servers(fold, 4) == {"REPORTED": 1}
    assert servers(fold, 5) == {}


def test_old_reports_bring_a_forgotten_server_back_from_when_they_are_written() -> None:
    fold = ServerFold({})
    lived(fold, START)
    for number, (hours, changes) in enumerate(LIFE):
        fold.take(KEY, at(hours, 10 * (number + 1), **changes), START + 250 * HOUR_MS)
    assert now_of(fold) == ("BLOCKED", START + 250 * HOUR_MS)
    assert [servers(fold, day) for day in (2, 3, 9, 10)] == [{"BLOCKED": 1}, {}, {}, {"BLOCKED": 1}]
    record = at(300, 31, status="BLOCKED", stage=8)
    fold.take(KEY, record, record["reported_at"])
    assert connections(fold) == {0: 10, 1: 10, 2: 10, 12: 1}
    assert fold.forgotten[KEY] is None
