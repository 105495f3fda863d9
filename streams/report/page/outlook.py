"""What the stages to come make of the servers that are out of date, day by day, if nobody updates them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from streams.domain.time import DAY_MS
from streams.report.page.status_words import role_of
from streams.report.queries.history import Day

DAYS: Final = 30


class OutlookDay(NamedTuple):
    """A day to come, whole days since 1970, and how many servers have each role at its end."""

    day: int
    roles: Mapping[str, int]


def outlook(today: Day, reports: Iterable[Mapping[str, Any]], days: int = DAYS) -> list[OutlookDay]:
    """Every day behind the last known one.

    Args:
        today: the last known day.
        reports: those of the servers that have stages to come, as their records have them.
        days: how many days ahead.
    """
    roles: dict[str, int] = {}
    for (status, _), n in today.servers.items():
        roles[role_of(status)] = roles.get(role_of(status), 0) + n
    changes: dict[int, list[tuple[str, str]]] = {}
    for report in reports:
        before = role_of(report["status"])
        for at, role in _coming(report["schedule"]):
            if before not in (role, "several"):
                changes.setdefault(max(at // DAY_MS, today.day + 1), []).append((before, role))
                before = role
    ahead = []
    for day in range(today.day + 1, today.day + 1 + days):
        for before, after in changes.get(day, ()):
            roles[before] = roles.get(before, 0) - 1
            roles[after] = roles.get(after, 0) + 1
        ahead.append(OutlookDay(day, {role: n for role, n in roles.items() if n > 0}))
    return ahead


def _coming(schedule: Sequence[Mapping[str, Any]]) -> Iterable[tuple[int, str]]:
    for stage in schedule:
        if stage["block_minutes_per_hour"]:
            yield stage["starts_at"], "blocked"
        elif stage["throttle_minutes_per_hour"]:
            yield stage["starts_at"], "delayed"
