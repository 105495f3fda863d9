"""When a notice goes: quiet hours and digests by the clock of a destination's zone, also where that clock jumps.

Moments are UTC milliseconds, times of a day minutes of the local day. A time that a day lacks, because the clock jumps
over it, has come when the clock has jumped; one that a day has twice has come the first time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from streams.domain.outputs.notification import Severity
from streams.domain.time import MINUTE_MS
from streams.notices.model import Digest, Subscription

MINUTES_OF_DAY: Final = 24 * 60
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ZoneError(ValueError):
    """A time zone is not known here."""


class Due(NamedTuple):
    """When a notice goes, and whether with all others that are due then."""

    at: int
    is_together: bool


@lru_cache
def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        ZoneError: it is not known.
    """
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ZoneError(f"zone: {name[:80]!r:.100}: must be a time zone by its IANA name, as Europe/Berlin") from None


def due_of(subscription: Subscription, zone: str, severity: str, now: int) -> Due:
    """When a notice that comes now goes to a destination."""
    is_exempt = severity == Severity.CRITICAL and not subscription.is_quiet_for_critical
    if subscription.digest is Digest.AT_ONCE:
        at, is_together = now, False
    elif subscription.digest is Digest.HOURLY:
        at, is_together = next_hour(now, zone), True
    else:
        at, is_together = next_time(now, zone, subscription.daily_at), True
    if subscription.quiet_from is None or subscription.quiet_to is None or (is_exempt and not is_together):
        return Due(at, is_together)
    end = quiet_end(at, zone, subscription.quiet_from, subscription.quiet_to)
    return Due(at, is_together) if end is None else Due(end, True)


def is_quiet(minute: int, begin: int, end: int) -> bool:
    """Whether a minute of the day is in hours that may go past midnight; none are where they end as they begin."""
    return begin <= minute < end if begin <= end else minute >= begin or minute < end


def quiet_end(at: int, zone: str, begin: int, end: int) -> int | None:
    """The first moment behind the quiet hours that a moment is in; None where it is in none."""
    known = zone_of(zone)
    moment = at
    while True:
        minute = _minute(moment, known)
        if not is_quiet(minute, begin, end):
            return None if moment == at else moment
        whole = moment - moment % MINUTE_MS
        behind = whole + (end - minute) % MINUTES_OF_DAY * MINUTE_MS
        # Where the clock jumps before, it shows something else then.
        moment = _transition(moment, behind, known) or behind


def next_hour(at: int, zone: str) -> int:
    """The next moment at which a local hour begins."""
    known = zone_of(zone)
    whole = at - at % MINUTE_MS
    behind = whole + (60 - _minute(whole, known) % 60) * MINUTE_MS
    jump = _transition(at, behind, known)
    return behind if jump is None or _minute(behind, known) % 60 == 0 else jump


def next_time(at: int, zone: str, minute: int) -> int:
    """The next moment at which a time of the local day comes; it comes once a day."""
    known = zone_of(zone)
    day = _local(at, known).date()
    while True:
        moment = _moment_of(day, minute, known)
        if moment > at:
            return moment
        day += timedelta(days=1)


def _minute(at: int, zone: ZoneInfo) -> int:
    local = _local(at, zone)
    return local.hour * 60 + local.minute


def _local(at: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone)


def _offset(at: int, zone: ZoneInfo) -> timedelta | None:
    return _local(at, zone).utcoffset()


def _transition(after: int, until: int, zone: ZoneInfo) -> int | None:
    """The moment, behind one and no later than another less than a day away, at which the clock jumps; None if none."""
    before = _offset(after, zone)
    if _offset(until, zone) == before:
        return None
    low, high = after, until
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def _moment_of(day: date, minute: int, zone: ZoneInfo) -> int:
    """When a time of a local day comes for the first time, or the clock jumps over it."""
    wanted = datetime(day.year, day.month, day.day, minute // 60, minute % 60)  # noqa: DTZ001 - its zone comes next
    aware = wanted.replace(tzinfo=zone)
    at = _millis(aware)
    if _local(at, zone).replace(tzinfo=None) == wanted:
        return at
    jump = _transition(_millis(aware.replace(fold=1)), at, zone)
    return at if jump is None else jump


def _millis(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
