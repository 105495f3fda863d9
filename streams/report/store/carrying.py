"""Carries history from one set of tables into a fresh one, which then reads the topics anew.

History by day and intervals cannot be made again from compacted topics. With them go the servers' rows, whose marks say
what history knows already; a row that the topics do not show again is taken for a server that was forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, func, inspect, select, tuple_

from streams.database.database import ALL_TENANTS, Database
from streams.database.upserts import Upsert
from streams.domain.keys import ServerKey
from streams.kafka.places import Place
from streams.report.model.batch import Read, Unreadable
from streams.report.store.folding import Carried, forget, write_servers
from streams.report.store.rows import NOT_READ
from streams.report.store.salvage import is_batchs_fault, refused_for
from streams.report.store.server_rows import upsert_servers
from streams.report.store.tables import (
    CONSUMER_OFFSET,
    FACT,
    SERVER,
    SERVER_DAY,
    SERVER_FORGOTTEN,
    SERVER_INTERVAL,
    TENANT_COUNT,
    TENANT_VERSION,
)
from streams.report.store.upkeep import CURRENT_AT, note_changes
from streams.report.store.writer import name_unreadable

_ROWS_AT_ONCE: Final = 5_000


def carry_history(before: Database, fresh: Database) -> Carried:
    """Copy what the topics cannot give again, as it is at one moment; returns what that knows already."""
    carried = Carried()
    with before.reading(ALL_TENANTS) as source:
        if not inspect(source).has_table(SERVER.name):
            return carried
        for table in (SERVER_DAY, SERVER_INTERVAL, SERVER_FORGOTTEN, TENANT_COUNT, TENANT_VERSION, FACT):
            for rows in _chunks(source, table):
                if table is FACT:
                    rows = [row for row in rows if row[0] != CURRENT_AT]
                elif table is TENANT_VERSION:
                    # What is shown is another set of rows from now on.
                    rows = [(tenant_id, n + 1) for tenant_id, n in rows]
                with fresh.writing() as connection:
                    Upsert(table).write(connection, rows)
        offset = list(SERVER.columns.keys()).index("source_offset")
        for rows in _chunks(source, SERVER):
            # Whatever the topics show of it, they show later than this.
            unread = {ServerKey(*row[:2]): (*row[:offset], NOT_READ, *row[offset + 1 :]) for row in rows}
            with fresh.writing() as connection:
                upsert_servers(connection, unread, list(unread), {})
            carried.servers += len(unread)
        marks = select(SERVER.c.tenant_id, func.max(SERVER.c.high_at)).group_by(SERVER.c.tenant_id)
        carried.marks = {tenant_id: int(mark) for tenant_id, mark in source.execute(marks)}
        for row in source.execute(select(CONSUMER_OFFSET)):
            carried.read_until[Place(row.topic, row.partition), row.topic_id] = row.position
    return carried


def write_held(fresh: Database, carried: Carried) -> list[Unreadable]:
    """Write the reports that were held back and after which no later one came: the topics are older than history.

    Returns those that the database refuses, which are named in it.
    """
    reads = sorted(
        (read for read in carried.held.values() if read is not None), key=lambda read: (read.place, read.offset)
    )
    refused: list[Unreadable] = []
    for begin in range(0, len(reads), _ROWS_AT_ONCE):
        some = reads[begin : begin + _ROWS_AT_ONCE]
        if _refused_for(fresh, some) is None:
            continue
        for read in some:
            error = _refused_for(fresh, [read])
            if error is not None:
                refused.append(refused_for(read, error))
    with fresh.writing() as connection:
        name_unreadable(connection, refused)
    return refused


def _refused_for(fresh: Database, reads: Sequence[Read]) -> Exception | None:
    """Write reports; returns why the database refuses them for what is in them.

    Raises:
        Exception: what no report is to blame for.
    """
    try:
        with fresh.writing() as connection:
            write_servers(connection, reads, is_news=False)
            note_changes(connection, Counter(read.key.tenant_id for read in reads))
    except Exception as error:
        if not is_batchs_fault(error):
            raise
        return error
    return None


def forget_unread(fresh: Database, at: int) -> int:
    """Take servers that were carried, and that no topic showed, for forgotten at a moment (UTC milliseconds).

    Returns their number.
    """
    forgotten = 0
    while True:
        with fresh.writing() as connection:
            asked = select(SERVER.c.tenant_id, SERVER.c.server).where(SERVER.c.source_offset == NOT_READ)
            keys = [ServerKey(*row) for row in connection.execute(asked.limit(_ROWS_AT_ONCE))]
            if not keys:
                return forgotten
            forget(connection, keys, at)
            forgotten += len(keys)


def _chunks(source: Connection, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    """All rows of a table in the order of its key, some thousands at a time."""
    key = list(table.primary_key.columns)
    names = [column.name for column in table.columns]
    places = [names.index(column.name) for column in key]
    last: tuple[Any, ...] | None = None
    while True:
        asked = select(table).order_by(*key).limit(_ROWS_AT_ONCE)
        if last is not None:
            asked = asked.where(tuple_(*key) > tuple_(*last))
        rows = [tuple(row) for row in source.execute(asked)]
        if rows:
            yield rows
        if len(rows) < _ROWS_AT_ONCE:
            return
        last = tuple(rows[-1][place] for place in places)
