"""Moments and days as text and as numbers, against the calendar of the standard library."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.time import DAY_MS, day_of, days_of, iso

FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1000 for year in (1, 9999))


@given(st.integers(FIRST, LAST))
def test_a_moment_is_written_as_the_calendar_has_it(moment: int) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment)
    assert iso(moment) == expected.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("moment", [FIRST - 1, LAST + 366 * DAY_MS, 10**30])
def test_a_moment_that_no_calendar_has_is_an_error(moment: int) -> None:
    with pytest.raises(OverflowError):
        iso(moment)


@pytest.mark.parametrize("days", [-719_163, 2_932_897, -(10**12), 10**12])
def test_a_day_that_no_calendar_has_is_an_error(days: int) -> None:
    with pytest.raises(OverflowError):
        day_of(days)


@given(st.dates())
def test_a_day_is_the_day_of_its_number(day: date) -> None:
    assert day_of(days_of(day)) == day
    assert date(1970, 1, 1) + timedelta(days=days_of(day)) == day
