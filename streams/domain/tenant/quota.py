"""The yearly quota of pauses: which days are paid, what a year has cost, and what it has left.

Each day of 24 hours costs one of the UTC year in which it begins. No year holds more paid time than its quota either,
so a day over New Year counts in the next year too where that one is full.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from streams.domain.policy.ladder import ClockStop
from streams.domain.time import DAY_MS


def year_of(moment: int) -> int:
    """The UTC calendar year of a moment."""
    return datetime.fromtimestamp(moment / 1000, UTC).year


@lru_cache(256)
def _start_of(year: int) -> int:
    """The first moment of a UTC calendar year."""
    return round(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1000


class PaidDays(NamedTuple):
    """Days of 24 hours one after the other that cost quota; the first begins at `starts_at`, UTC milliseconds."""

    starts_at: int
    days: int

    @property
    def ends_at(self) -> int:
        """When the last one ends."""
        return self.starts_at + self.days * DAY_MS

    def begun_before(self, moment: int) -> PaidDays:
        """Those that begin before a moment."""
        return PaidDays(self.starts_at, min(self.days, max(0, -((self.starts_at - moment) // DAY_MS))))


class YearUse(NamedTuple):
    """What a calendar year has cost: the days that begin in it, and the time that paid days have in it."""

    days: int = 0
    time_ms: int = 0

    def left_days(self, quota: int) -> int:
        """How many whole days may still be paused in that year."""
        return max(0, min(quota - self.days, (quota * DAY_MS - self.time_ms) // DAY_MS))


def _by_year(paid: PaidDays) -> Iterator[tuple[int, YearUse]]:
    year = year_of(paid.starts_at)
    while paid.days and _start_of(year) < paid.ends_at:
        begins, ends = _start_of(year), _start_of(year + 1)
        days = paid.begun_before(ends).days - paid.begun_before(begins).days
        yield year, YearUse(days, min(ends, paid.ends_at) - max(begins, paid.starts_at))
        year += 1


class Use:
    """What calendar years cost, while it is added up."""

    def __init__(self, used: Mapping[int, YearUse]) -> None:
        """Begin with what the years have cost already."""
        self.years = dict(used)

    def of(self, year: int) -> YearUse:
        """What a year has cost."""
        return self.years.get(year, YearUse())

    def add(self, paid: Iterable[PaidDays], sign: int = 1) -> None:
        """Add paid days, or take them back with the sign -1."""
        for days in paid:
            for year, use in _by_year(days):
                before = self.of(year)
                self.years[year] = YearUse(before.days + sign * use.days, before.time_ms + sign * use.time_ms)

    def exceeded_year(self, paid: Sequence[PaidDays], quota: int) -> tuple[int, YearUse] | None:
        """The first year whose quota these days would exceed, with what they ask of it; None where they fit."""
        asked = Use({})
        asked.add(paid)
        for year, use in sorted(asked.years.items()):
            before = self.of(year)
            if before.days + use.days > quota or before.time_ms + use.time_ms > quota * DAY_MS:
                return year, use
        return None

    def affordable(self, wanted: PaidDays, quota: int) -> PaidDays:
        """As many of these days, from the first on, as the quota of their years has left."""

        def exceeds(days: int) -> bool:
            return self.exceeded_year((PaidDays(wanted.starts_at, days),), quota) is not None

        return wanted._replace(days=bisect_left(range(1, wanted.days + 1), True, key=exceeds))


class QuotaError(ValueError):
    """A pause would exceed the quota; the message names the year, the days asked of it, and the days left in it."""


def check_quota(use: Use, paid: Sequence[PaidDays], quota: int) -> None:
    """Refuse days for which a year that they touch has too little left.

    Raises:
        QuotaError: names the first such year.
    """
    exceeded = use.exceeded_year(paid, quota)
    if exceeded is not None:
        year, asked = exceeded
        days, left = max(asked.days, -(-asked.time_ms // DAY_MS)), use.of(year).left_days(quota)
        raise QuotaError(f"days: {days} of {year}: only {left} of {quota} days are left in that year")


def uncovered(wanted: PaidDays, spans: Iterable[ClockStop]) -> Iterator[PaidDays]:
    """Those of some days that spans do not cover entirely."""
    begin, day = wanted.starts_at, 0
    for starts_at, ends_at in union_of(spans):
        first = max(day, -((begin - starts_at) // DAY_MS))
        last = min(wanted.days, (ends_at - begin) // DAY_MS)
        if first < last:
            if first > day:
                yield PaidDays(begin + day * DAY_MS, first - day)
            day = last
    if day < wanted.days:
        yield PaidDays(begin + day * DAY_MS, wanted.days - day)


def union_of(spans: Iterable[ClockStop]) -> list[ClockStop]:
    """The same spans in order, without overlaps, and one where they touch."""
    union: list[ClockStop] = []
    for span in sorted(spans):
        if union and span.starts_at <= union[-1].ends_at:
            union[-1] = ClockStop(union[-1].starts_at, max(union[-1].ends_at, span.ends_at))
        else:
            union.append(span)
    return union
