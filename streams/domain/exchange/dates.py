"""The date at the end of a `Received` line."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final

from streams.domain.exchange.clauses import MAX_LINE_CHARS, OPENING, split_comments, unfold
from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, days_of

_DATE = re.compile(
    r"(?:[A-Za-z]{3}, ?)?([0-9]{1,2}) ([A-Za-z]{3}) ([0-9]{4}) ([0-9]{2}):([0-9]{2})(?::([0-9]{2}))? "
    r"(?:([+-])([0-9]{2})([0-9]{2})|GMT|UTC?|Z)",
    re.IGNORECASE | re.ASCII,
)
_MAX_DATE_CHARS: Final = 128
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def date_of(line: str) -> int | None:
    """The date of a `Received` line in UTC milliseconds; None where it has none, or not one that mail servers write."""
    at = line.rfind(";", 0, MAX_LINE_CHARS)
    text = line[at:MAX_LINE_CHARS] if at >= 0 else ""
    # Without what begins or ends a comment or a quotation, the date is what stands there.
    if OPENING.search(text) is not None or ">" in text:
        text = split_comments(unfold(line)).text
        text = text[text.rfind(";") :] if ";" in text else ""
    return _date_in(text) if len(text) <= _MAX_DATE_CHARS else None


@lru_cache(1024)  # of many lines of one second there is one date
def _date_in(text: str) -> int | None:
    text = unfold(text)
    found = _DATE.fullmatch(text[text.rfind(";") + 1 :].strip()) if ";" in text else None
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
    try:
        days = days_of(date(int(year), _MONTHS.index(month.lower()) + 1, int(day)))
    except ValueError:
        return None
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60 or int(zone_minutes or 0) > 59:
        return None
    zone = int(zone_hours or 0) * HOUR_MS + int(zone_minutes or 0) * MINUTE_MS
    at = days * DAY_MS + int(hour) * HOUR_MS + int(minute) * MINUTE_MS + int(second or 0) * SECOND_MS
    return at + zone if sign == "-" else at - zone
