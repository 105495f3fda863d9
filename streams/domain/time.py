"""Moments and spans: whole milliseconds, moments since 1970 in UTC."""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
EARLIEST_MS: Final = 946_684_800_000
"""2000-01-01: no connection of this service can be older; an older time is a broken clock."""
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01: a later time is a broken clock, and would fire every timer there is."""
CALENDAR_END_MS: Final = 253_402_300_800_000
"""10000-01-01: from here on nothing can be written as a date."""


def moment_ms(moment: datetime) -> int:
    """An aware moment in whole milliseconds, rounded."""
    return round(moment.timestamp() * 1000)


_MINUTES: Final = tuple(f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(24 * 60))
_SECONDS: Final = tuple(f"{second:02d}" for second in range(60))
_MILLISECONDS: Final = tuple(f"{millisecond:03d}" for millisecond in range(SECOND_MS))
_DAY_ZERO: Final = date(1970, 1, 1).toordinal()


def day_of(days: int) -> date:
    """The day so many whole days behind 1970-01-01.

    Raises:
        OverflowError: no calendar has it.
    """
    try:
        return date.fromordinal(_DAY_ZERO + days)
    except ValueError as error:
        raise OverflowError(f"{days} days behind 1970-01-01: no calendar has this day") from error


def days_of(day: date) -> int:
    """How many whole days behind 1970-01-01 a day is."""
    return day.toordinal() - _DAY_ZERO


def iso(moment: int) -> str:
    """A moment (UTC milliseconds) as ISO 8601 with milliseconds.

    Raises:
        OverflowError: no calendar has it.
    """
    days, rest = divmod(moment, DAY_MS)
    seconds, milliseconds = divmod(rest, SECOND_MS)
    minutes, seconds = divmod(seconds, 60)
    return f"{_iso_day(days)}T{_MINUTES[minutes]}:{_SECONDS[seconds]}.{_MILLISECONDS[milliseconds]}Z"


@lru_cache(4_096)  # exports write millions of moments, of some hundred days
def _iso_day(days: int) -> str:
    return day_of(days).isoformat()
