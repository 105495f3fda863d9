"""What the stages to come make of the servers that are out of date, day by day, if nobody updates them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from streams.report.queries.episodes import Ahead
from streams.report.queries.history import Day
from streams.texts.status_words import role_of

DAYS: Final = 30


class OutlookDay(NamedTuple):
    """A day to come, whole days since 1970, and how many servers have each role at its end."""

    day: int
    roles: Mapping[str, int]


def outlook(today: Day, ahead: Iterable[Ahead], days: int = DAYS) -> list[OutlookDay]:
    """Every day behind the last known one.

    Args:
        today: the last known day.
        ahead: the servers that have stages to come, by what comes when.
        days: how many days ahead.
    """
    roles: dict[str, int] = {}
    for (status, _), n in today.servers.items():
        roles[role_of(status)] = roles.get(role_of(status), 0) + n
    changes: dict[int, list[tuple[str, str, int]]] = {}
    for one in ahead:
        before = role_of(one.status)
        for day, role in ((one.delayed_on, "delayed"), (one.blocked_on, "blocked")):
            if day is not None and before not in (role, "several", "blocked"):
                changes.setdefault(max(day, today.day + 1), []).append((before, role, one.n))
                before = role
    coming = []
    for day in range(today.day + 1, today.day + 1 + days):
        for before, after, n in changes.get(day, ()):
            roles[before] = roles.get(before, 0) - n
            roles[after] = roles.get(after, 0) + n
        coming.append(OutlookDay(day, {role: n for role, n in roles.items() if n > 0}))
    return coming
