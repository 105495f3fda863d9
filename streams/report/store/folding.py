"""Writes reports of servers with what follows from them: intervals, days, counts, and marks of those forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection

from streams.database.upserts import Upsert, delete, select_by_pairs
from streams.domain.keys import ServerKey
from streams.kafka.places import Place
from streams.report.model.batch import Read
from streams.report.model.servers import Counters, Forgotten, ServerFacts, ServerFold
from streams.report.store.rows import NOT_READ, Row, forgotten_row, interval_row, server_row
from streams.report.store.server_rows import Urgency, upsert_servers
from streams.report.store.tables import SERVER, SERVER_DAY, SERVER_FORGOTTEN, SERVER_INTERVAL, TENANT_COUNT
from streams.report.store.upkeep import note_changes

_INTERVALS: Final = Upsert(SERVER_INTERVAL)
_FORGOTTEN: Final = Upsert(SERVER_FORGOTTEN)
_DAYS: Final = Upsert(SERVER_DAY, adds=("change", "accepted", "delayed", "refused"))
_COUNTS: Final = Upsert(TENANT_COUNT, adds=("n",))
_HIGH: Final = "high_accepted, high_deferred, high_rejected"
_FACTS: Final = (
    "tenant_id, server, urgency, next_at, status, stage, finding, build, since, reason, policy_id, policy_version, "
    "verdict_revision, accepted, deferred, rejected, high_at, " + _HIGH
)


@dataclass(slots=True)
class Carried:
    """What a history that was carried over knows already, while the topics are read up to it.

    `read_until` has the positions that it has read, by place and topic. Where the topics are others, `marks` has the
    latest moment that it knows of each tenant, UTC milliseconds. `held` takes the last record of each server that it
    knows, in place of its being written: where a later one comes, as it does unless the topics are older than the
    history, that is dropped.
    """

    servers: int = 0
    marks: dict[str, int] = field(default_factory=dict)
    read_until: dict[tuple[Place, str], int] = field(default_factory=dict)
    held: dict[ServerKey, Read | None] = field(default_factory=dict)
    """In a batch that is not committed yet, None stands for what it drops."""

    def holds(self, read: Read, known: ServerFacts | None, source: str) -> bool:
        """Whether a record is held back; `known` are the facts of its server, which was not read again yet, if any."""
        position = self.read_until.get((read.place, source))
        if position is not None and read.offset >= position:
            return False
        if known is None and position is not None:
            return True
        mark = self.marks.get(read.key.tenant_id, -1) + 1 if known is None else known.high_at
        return read.record is None or bool(read.record["reported_at"] < mark)


@dataclass(slots=True)
class FoldedServers:
    """Reports of servers, folded, and what is to be written of them.

    `rows` are those of `tables.SERVER`, `new` which of their servers had none, `gone` those that lose theirs;
    `urgencies` are of the rows that were there.
    """

    fold: ServerFold
    rows: dict[ServerKey, Row] = field(default_factory=dict)
    new: list[ServerKey] = field(default_factory=list)
    gone: list[ServerKey] = field(default_factory=list)
    urgencies: dict[ServerKey, Urgency] = field(default_factory=dict)


def write_servers(
    connection: Connection,
    reads: Sequence[Read],
    carried: Carried | None = None,
    sources: Mapping[str, str] = MappingProxyType({}),
    *,
    is_news: bool = True,
) -> None:
    """Write reports of servers, and what follows from them; see `fold_servers`."""
    write_folded(connection, fold_servers(connection, reads, carried, sources, is_news=is_news))


def fold_servers(
    connection: Connection,
    reads: Sequence[Read],
    carried: Carried | None = None,
    sources: Mapping[str, str] = MappingProxyType({}),
    *,
    behind: FoldedServers | None = None,
    is_news: bool = True,
) -> FoldedServers:
    """Fold reports of servers; nothing is written.

    Args:
        connection: of a transaction.
        reads: the reports, in order.
        carried: what a carried history knows.
        sources: the topics behind its positions.
        behind: what will have been written before these are, whether the transaction sees it or not.
        is_news: whether unknown servers are new.
    """
    keys = sorted({read.key for read in reads})
    before, urgencies = _look_up_behind(connection, keys, behind)
    fold = fold_of(connection, keys, before, behind)
    unread = set() if carried is None else _not_read(connection, keys)
    last = {}
    for read in reads:
        key, record, known = read.key, read.record, fold.facts.get(read.key)
        if carried is not None and (known is None or key in unread):
            if carried.holds(read, known, sources[read.place.topic]):
                carried.held[key] = read
                continue
            unread.discard(key)
            carried.held[key] = None
        last[key] = read
        if record is None:
            fold.forget(key, read.written_at)
        else:
            fold.take(key, record, read.written_at, is_news=is_news)
    shown = {key: facts for key in keys if key in last and (facts := fold.facts.get(key)) is not None}
    return FoldedServers(
        fold,
        {key: server_row(last[key], facts) for key, facts in shown.items()},
        [key for key in shown if key not in before],
        [key for key, read in last.items() if read.record is None],
        urgencies,
    )


def write_folded(connection: Connection, folded: FoldedServers) -> None:
    """Write what was folded, where the tables are as they were then, or as what was behind it left them."""
    write_fold(connection, folded.fold)
    upsert_servers(connection, folded.rows, folded.new, folded.urgencies)
    delete(connection, SERVER, folded.gone)


def fold_of(
    connection: Connection,
    keys: Sequence[ServerKey],
    known: Mapping[ServerKey, ServerFacts],
    behind: FoldedServers | None = None,
) -> ServerFold:
    """A fold that begins with what is known of some servers, of which `known` are those that have a row."""
    told = {} if behind is None else behind.fold.forgotten
    # A server that was never forgotten has held something since a report of its own.
    asked = [key for key in keys if (facts := known.get(key)) is None or facts.since >= facts.high_at]
    rows = select_by_pairs(
        connection,
        "tenant_id, server, forgotten_at, high_at, " + _HIGH,
        SERVER_FORGOTTEN,
        [key for key in asked if key not in told],
    )
    marks = {ServerKey(*row[:2]): Forgotten(row[2], row[3], Counters(*row[4:])) for row in rows}
    marks |= {key: mark for key in asked if (mark := told.get(key)) is not None}
    return ServerFold(known, marks)


def write_fold(connection: Connection, fold: ServerFold) -> None:
    """Write the intervals, days, counts and marks that follow from reports."""
    marks = fold.forgotten.items()
    _FORGOTTEN.write(connection, (forgotten_row(key, mark) for key, mark in marks if mark is not None))
    delete(connection, SERVER_FORGOTTEN, [key for key, mark in marks if mark is None])
    _INTERVALS.write(connection, map(interval_row, fold.ended.values()))
    _DAYS.write(connection, ((*key, *row) for key, row in sorted(fold.days.items())))
    _COUNTS.write(connection, ((*key, change) for key, change in sorted(fold.counts.items())))


def forget(connection: Connection, keys: Sequence[ServerKey], at: int) -> None:
    """Take servers, at a moment (UTC milliseconds), for forgotten though no tombstone says so."""
    fold = fold_of(connection, keys, known_servers(connection, keys))
    for key in keys:
        fold.forget(key, at)
    write_fold(connection, fold)
    delete(connection, SERVER, keys)
    note_changes(connection, Counter(key.tenant_id for key in keys))


def known_servers(connection: Connection, keys: Sequence[ServerKey]) -> dict[ServerKey, ServerFacts]:
    """The facts of those of some servers that have a row."""
    return _look_up(connection, keys)[0]


def _look_up_behind(
    connection: Connection, keys: Sequence[ServerKey], behind: FoldedServers | None
) -> tuple[dict[ServerKey, ServerFacts], dict[ServerKey, Urgency]]:
    """See `_look_up`; what will have been written before is known from there."""
    if behind is None:
        return _look_up(connection, keys)
    told = behind.fold.facts
    known, urgencies = _look_up(connection, [key for key in keys if key not in told])
    for key in keys:
        facts = told.get(key)
        if facts is not None:
            known[key] = facts
            row = behind.rows.get(key)
            urgencies[key] = behind.urgencies[key] if row is None else (row[2], row[3])
    return known, urgencies


def _look_up(
    connection: Connection, keys: Sequence[ServerKey]
) -> tuple[dict[ServerKey, ServerFacts], dict[ServerKey, Urgency]]:
    """The facts of those of some servers that have a row, and how urgent their rows are."""
    known, urgencies = {}, {}
    for tenant_id, server, urgency, next_at, *facts in select_by_pairs(connection, _FACTS, SERVER, keys):
        counters, high, key = Counters(*facts[9:12]), Counters(*facts[13:16]), ServerKey(tenant_id, server)
        known[key] = ServerFacts(*facts[:9], counters, facts[12], high)  # type: ignore[call-arg]
        urgencies[key] = urgency, next_at
    return known, urgencies


def _not_read(connection: Connection, keys: Sequence[ServerKey]) -> set[ServerKey]:
    """Those of some servers whose rows were carried over and not read again."""
    rows = select_by_pairs(connection, "tenant_id, server, source_offset", SERVER, keys)
    return {ServerKey(tenant_id, server) for tenant_id, server, offset in rows if offset == NOT_READ}
