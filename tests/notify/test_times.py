"""Quiet hours and digests by the local clock, in every zone, also where it jumps."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS
from streams.notices.model import Digest, Subscription
from streams.notices.times import Due, ZoneError, due_of, is_quiet, next_hour, next_time, quiet_end, zone_of

ZONES = sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith(("posix", "right")))
MOMENTS = st.integers(1_704_067_200_000, 1_861_920_000_000)
"""2024 to 2028."""
MINUTES = st.integers(0, 1439)
BERLIN = "Europe/Berlin"


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


def minute_of(moment: int, zone: str) -> int:
    local = datetime.fromtimestamp(moment / 1000, ZoneInfo(zone))
    return local.hour * 60 + local.minute


@given(moment=MOMENTS, zone=st.sampled_from(ZONES), begin=MINUTES, end=MINUTES)
def test_the_end_of_quiet_hours_is_the_first_moment_that_is_not_quiet(
    moment: int, zone: str, begin: int, end: int
) -> None:
    found = quiet_end(moment, zone, begin, end)
    if found is None:
        assert not is_quiet(minute_of(moment, zone), begin, end)
        return
    assert moment < found <= moment + DAY_MS + 3 * HOUR_MS
    assert not is_quiet(minute_of(found, zone), begin, end)
    for between in (*range(moment, found, 7 * MINUTE_MS), found - 1):
        assert is_quiet(minute_of(between, zone), begin, end)


@given(moment=MOMENTS, zone=st.sampled_from(ZONES), minute=MINUTES)
def test_a_time_of_the_day_comes_once_a_day(moment: int, zone: str, minute: int) -> None:
    days, known = [], ZoneInfo(zone)
    for _ in range(4):
        following = next_time(moment, zone, minute)
        assert moment < following <= moment + DAY_MS + 3 * HOUR_MS
        shown = minute_of(following, zone)
        # Where the day lacks it, the clock has just jumped over it.
        assert shown == minute or minute_of(following - 1, zone) < minute < shown
        days.append(datetime.fromtimestamp(following / 1000, known).date().toordinal())
        moment = following
    assert days == list(range(days[0], days[0] + 4))


@given(moment=MOMENTS, zone=st.sampled_from(ZONES))
def test_an_hour_begins_within_an_hour(moment: int, zone: str) -> None:
    found = next_hour(moment, zone)
    assert moment < found <= moment + HOUR_MS + 30 * MINUTE_MS
    jump = datetime.fromtimestamp(found / 1000, ZoneInfo(zone)).utcoffset()
    before = datetime.fromtimestamp((found - 1) / 1000, ZoneInfo(zone)).utcoffset()
    assert minute_of(found, zone) % 60 == 0 or jump != before


@pytest.mark.parametrize(
    ("now", "begin", "end", "expected"),
    [
        # The clock jumps from 02:00 to 03:00 on 29 March, and back from 03:00 to 02:00 on 25 October.
        (at(2026, 3, 28, 22), 22 * 60, 2 * 60 + 30, at(2026, 3, 29, 1)),
        (at(2026, 3, 28, 22), 22 * 60, 7 * 60, at(2026, 3, 29, 5)),
        (at(2026, 10, 24, 21), 22 * 60, 2 * 60 + 30, at(2026, 10, 25, 0, 30)),
        (at(2026, 10, 25, 1, 10), 22 * 60, 2 * 60 + 30, at(2026, 10, 25, 1, 30)),
        (at(2026, 10, 24, 21), 22 * 60, 7 * 60, at(2026, 10, 25, 6)),
        (at(2026, 6, 1, 12), 22 * 60, 7 * 60, None),
    ],
)
def test_quiet_hours_where_the_clock_jumps(now: int, begin: int, end: int, expected: int | None) -> None:
    assert quiet_end(now, BERLIN, begin, end) == expected


def test_a_time_that_a_day_lacks_or_has_twice() -> None:
    half_past_two = 2 * 60 + 30
    assert next_time(at(2026, 3, 28, 12), BERLIN, half_past_two) == at(2026, 3, 29, 1)
    assert next_time(at(2026, 10, 24, 12), BERLIN, half_past_two) == at(2026, 10, 25, 0, 30)
    assert next_time(at(2026, 10, 25, 0, 30), BERLIN, half_past_two) == at(2026, 10, 26, 1, 30)


def test_when_a_notice_goes() -> None:
    one = Subscription("contoso", "s", "d")
    noon, midnight, morning = at(2026, 6, 1, 10, 20), at(2026, 6, 1, 22), at(2026, 6, 2, 5)
    assert due_of(one, BERLIN, "INFO", noon) == Due(noon, is_together=False)
    quiet = one._replace(quiet_from=22 * 60, quiet_to=7 * 60)
    assert due_of(quiet, BERLIN, "WARNING", noon) == Due(noon, is_together=False)
    assert due_of(quiet, BERLIN, "WARNING", midnight) == Due(morning, is_together=True)
    assert due_of(quiet, BERLIN, "CRITICAL", midnight) == Due(midnight, is_together=False)
    assert due_of(quiet._replace(is_quiet_for_critical=True), BERLIN, "CRITICAL", midnight) == Due(
        morning, is_together=True
    )
    hourly = one._replace(digest=Digest.HOURLY)
    assert due_of(hourly, BERLIN, "CRITICAL", noon) == Due(at(2026, 6, 1, 11), is_together=True)
    assert due_of(quiet._replace(digest=Digest.HOURLY), BERLIN, "CRITICAL", midnight) == Due(morning, is_together=True)
    daily = one._replace(digest=Digest.DAILY, daily_at=8 * 60)
    assert due_of(daily, BERLIN, "INFO", noon) == Due(at(2026, 6, 2, 6), is_together=True)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "x" * 300, "a\0b"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ZoneError):
        zone_of(name)
