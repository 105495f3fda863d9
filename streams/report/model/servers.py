"""Folds the reports of servers into what the model keeps beside them: intervals, counts by status, and days.

The counters of a report are cumulative, and its topic may show old reports again: a worker that rebuilds its state
writes them once more, and a rebuilt model reads them once more. So a server's history has a *high mark*, the latest
moment that any of its reports showed, with the counters of then. A later report counts what its counters have gained
since the report before it; one that is not later counts only what exceeds the mark.

The mark of a server outlives the server: a rebuilt state also writes reports of one that was forgotten, and its
tombstone after them. Such reports bring the server back from the moment at which they are written; what they say
happened long ago is in the history already.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from streams.domain.keys import ServerKey
from streams.domain.time import DAY_MS

Record = dict[str, Any]


class Counters(NamedTuple):
    """Connections by what the edge did; cumulative in a report, a difference in a day."""

    accepted: int = 0
    deferred: int = 0
    rejected: int = 0


class ServerFacts(NamedTuple):
    """What of a server the next report is compared with; moments in UTC milliseconds.

    Status, stage, finding and build have held since `since`. `counters` are those of its last report, `high_at` and
    `high` its high mark.
    """

    status: str
    stage: int
    finding: str
    build: str | None
    since: int
    reason: str
    policy_id: str
    policy_version: int
    verdict_revision: int
    counters: Counters
    high_at: int
    high: Counters


class Forgotten(NamedTuple):
    """What history knows of a server that was forgotten `at` a moment: its high mark."""

    at: int
    high_at: int
    high: Counters


class Interval(NamedTuple):
    """What held about a server from one moment to another; what holds now is in the server's own row."""

    tenant_id: str
    server: str
    begins_at: int
    ends_at: int
    status: str
    stage: int
    finding: str
    build: str | None
    reason: str
    policy_id: str
    policy_version: int
    verdict_revision: int


class DayKey(NamedTuple):
    """A row of history: a UTC day since 1970, and the status and stage of servers."""

    tenant_id: str
    day: int
    status: str
    stage: int


CHANGE, ACCEPTED, DELAYED, REFUSED = range(4)
"""Positions in a day's row: by how many the servers of this status and stage grew, and connections of theirs."""


class ServerFold:
    """Takes the reports of servers in the order of their topic, and gathers what follows from them."""

    def __init__(
        self, known: Mapping[ServerKey, ServerFacts], forgotten: Mapping[ServerKey, Forgotten] = MappingProxyType({})
    ) -> None:
        """Begin with the facts of every server that will be taken and is known, and the marks of those forgotten."""
        self.facts: dict[ServerKey, ServerFacts | None] = dict(known)
        self.forgotten: dict[ServerKey, Forgotten | None] = dict(forgotten)
        """A mark stays until a report says something later; None where one is gone."""
        self.ended: dict[tuple[str, str, int], Interval] = {}
        self.days: dict[DayKey, list[int]] = {}
        self.counts: dict[tuple[str, str], int] = {}

    def take(self, key: ServerKey, record: Record, written_at: int, *, is_news: bool = True) -> None:
        """A report, written at a moment; one of an unknown server counts nothing unless that `is_news`."""
        before, at = self.facts.get(key), record["reported_at"]
        mark = self.forgotten.get(key)
        if mark is not None and at > mark.high_at:
            self.forgotten[key] = None
        counters = Counters(record["accepted"], record["deferred"], record["rejected"])
        if before is not None and at > before.high_at:
            gained, high_at, high = _gain(before.counters, counters), at, counters
        elif before is not None:
            gained, high_at, high = _excess(before.high, counters), before.high_at, _highest(before.high, counters)
        elif mark is not None and at <= mark.high_at:
            gained, high_at, high = _excess(mark.high, counters), mark.high_at, _highest(mark.high, counters)
        else:
            gained = counters if is_news and _is_first_of_its_life(record) else Counters()
            high_at, high = at, counters
        status, stage, finding, build = record["status"], record["stage"], record["finding"], record["build"]
        moment = since = self._moment(high_at, before, mark, written_at)
        if before is not None:
            if before[:4] == (status, stage, finding, build):
                since = before.since
            else:
                self._end(key, before, moment)
        if before is None or (before.status, before.stage) != (status, stage):
            self._move(key.tenant_id, moment // DAY_MS, before, status, stage)
        if any(gained):
            self._count(DayKey(key.tenant_id, min(record["last_seen_at"], high_at) // DAY_MS, status, stage), gained)
        self.facts[key] = ServerFacts(
            status,
            stage,
            finding,
            build,
            since,
            record["reason"],
            record["policy_id"],
            record["policy_version"],
            record["verdict_revision"],
            counters,
            high_at,
            high,
        )

    def forget(self, key: ServerKey, at: int) -> None:
        """A tombstone, written at a moment: the server is not known any more."""
        before = self.facts.get(key)
        if before is None:
            return
        moment, mark = max(at, before.high_at, before.since), self.forgotten.get(key)
        if mark is None:
            self._end(key, before, moment)
        # Else what it had back were old reports, of what is in the history.
        self._move(key.tenant_id, moment // DAY_MS, before, None, 0)
        self.facts[key] = None
        self.forgotten[key] = Forgotten(moment, before.high_at, before.high)

    def _moment(self, high_at: int, before: ServerFacts | None, mark: Forgotten | None, written_at: int) -> int:
        """From when on a report holds: not in front of what held before, nor while the server was forgotten."""
        if before is not None:
            return max(high_at, before.since)
        if mark is None:
            return high_at
        return max(high_at, mark.at) if high_at > mark.high_at else max(written_at, mark.at)

    def _end(self, key: ServerKey, before: ServerFacts, at: int) -> None:
        # What ended at the moment at which it began never held.
        if before.since < at:
            self.ended[(*key, before.since)] = Interval(
                *key,
                before.since,
                at,
                before.status,
                before.stage,
                before.finding,
                before.build,
                before.reason,
                before.policy_id,
                before.policy_version,
                before.verdict_revision,
            )

    def _move(self, tenant_id: str, day: int, before: ServerFacts | None, status: str | None, stage: int) -> None:
        if before is not None:
            self._row(DayKey(tenant_id, day, before.status, before.stage))[CHANGE] -= 1
        if status is not None:
            self._row(DayKey(tenant_id, day, status, stage))[CHANGE] += 1
        if before is None or before.status != status:
            for one, change in ((before and before.status, -1), (status, 1)):
                if one is not None:
                    self.counts[tenant_id, one] = self.counts.get((tenant_id, one), 0) + change

    def _count(self, key: DayKey, gained: Counters) -> None:
        row = self._row(key)
        row[ACCEPTED] += gained.accepted
        row[DELAYED] += gained.deferred
        row[REFUSED] += gained.rejected

    def _row(self, key: DayKey) -> list[int]:
        row = self.days.get(key)
        if row is None:
            row = self.days[key] = [0, 0, 0, 0]
        return row


_NONE: Final = Counters()


def _is_first_of_its_life(record: Record) -> bool:
    """Whether a report of an unknown server can be its first: an older server's counters belong to unknown days."""
    return bool(record["first_seen_at"] // DAY_MS == record["last_seen_at"] // DAY_MS)


def _gain(before: Counters, now: Counters) -> Counters:
    """What counters have gained; all of it where any is lower, since they began anew."""
    if now == before:
        return _NONE
    gained = Counters(now[0] - before[0], now[1] - before[1], now[2] - before[2])
    return gained if min(gained) >= 0 else now


def _excess(before: Counters, now: Counters) -> Counters:
    if now == before:
        return _NONE
    return Counters(max(0, now[0] - before[0]), max(0, now[1] - before[1]), max(0, now[2] - before[2]))


def _highest(before: Counters, now: Counters) -> Counters:
    return Counters(max(before[0], now[0]), max(before[1], now[1]), max(before[2], now[2]))
