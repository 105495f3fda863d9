"""History by day: servers by status and stage, and connections by what was done."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from streams.report.queries.scopes import of_tenant
from streams.report.store.tables import SERVER_DAY


class Day(NamedTuple):
    """A UTC day since 1970: servers at its end by status and stage, none left out but zeros; connections on it."""

    day: int
    servers: dict[tuple[str, int], int]
    accepted: int
    delayed: int
    refused: int


def history(connection: Connection, tenant: str, first_day: int, last_day: int) -> list[Day]:
    """Every day from one to another, both included.

    Raises:
        ValueError: the last day is before the first, or more than 4000 days later.
    """
    if not 0 <= last_day - first_day <= MOST_DAYS:
        raise ValueError(f"days: {first_day} to {last_day}: must be from 0 to {MOST_DAYS} days apart, in order")
    columns = SERVER_DAY.c
    here = of_tenant(columns.tenant_id, tenant)
    key = (columns.status, columns.stage)
    before = select(*key, func.sum(columns.change)).where(here, columns.day < first_day).group_by(*key)
    servers = {(status, stage): int(n) for status, stage, n in connection.execute(before)}
    sums = [func.sum(columns[name]) for name in ("change", "accepted", "delayed", "refused")]
    asked = (
        select(columns.day, *key, *sums)
        .where(here, columns.day.between(first_day, last_day))
        .group_by(columns.day, *key)
        .order_by(columns.day)
    )
    by_day: dict[int, list[tuple[str, int, int, int, int, int]]] = {}
    for day, status, stage, *numbers in connection.execute(asked):
        change, accepted, delayed, refused = map(int, numbers)
        by_day.setdefault(day, []).append((status, stage, change, accepted, delayed, refused))
    days = []
    for day in range(first_day, last_day + 1):
        connections = [0, 0, 0]
        for status, stage, change, *numbers in by_day.get(day, ()):
            servers[status, stage] = servers.get((status, stage), 0) + change
            connections = [one + other for one, other in zip(connections, numbers, strict=True)]
        days.append(Day(day, {key: n for key, n in servers.items() if n}, *connections))
    return days


MOST_DAYS = 4_000
