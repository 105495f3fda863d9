"""`tes report check`: compares the tables with the topics, row by row.

The tables are looked at as they are at one moment, and compared with what the topics hold in front of their offsets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from sqlalchemy import func, select

from streams.database.database import ALL_TENANTS, Database
from streams.kafka.cluster import Cluster
from streams.kafka.places import Place
from streams.kafka.reader import read_partitions
from streams.operations.progress import SILENT, Progress
from streams.report.model.batch import AUDIT as AUDITS
from streams.report.model.batch import NOTIFICATIONS, READ, SERVERS, VERDICTS, Batch, Read
from streams.report.reading.decoding import Decoder
from streams.report.store.rows import stored_text
from streams.report.store.tables import (
    AUDIT,
    CONSUMER_OFFSET,
    NOTIFICATION,
    SERVER,
    TENANT_COUNT,
    UNREADABLE,
    VERDICT,
)
from streams.wire.registry import SchemaRegistry

_TABLES: Final = {SERVERS: SERVER, VERDICTS: VERDICT, NOTIFICATIONS: NOTIFICATION, AUDITS: AUDIT}
_RECORDS_AT_ONCE: Final = 2_000
Rows = dict[tuple[str, str], tuple[int, int, str]]
"""Partition, offset and detail of each row by its key."""


class Difference(NamedTuple):
    """Something that the tables do not have as the topics do."""

    table: str
    key: tuple[str, str]
    what: str


class Compared(NamedTuple):
    """Rows that were compared, records that the tables name as unreadable, and what differs."""

    rows: int
    unreadable: int
    differences: list[Difference]


class _Snapshot(NamedTuple):
    rows: dict[str, Rows]
    positions: dict[Place, int]
    counts: dict[tuple[str, str], int]
    unreadable: int


async def compare(
    cluster: Cluster,
    registry: SchemaRegistry,
    database: Database,
    *,
    topic: Callable[[str], str],
    progress: Progress = SILENT,
) -> Compared:
    """Compare the tables with the topics; arguments are those of `rebuild`.

    Raises:
        KafkaError, TopicError: the topics cannot be read.
        DBAPIError: the database does not answer.
    """
    snapshot = _snapshot(database)
    decoder = Decoder(registry, topic)
    differences, compared = list(_counted_wrongly(snapshot)), 0
    for name in READ:
        progress.begin(f"comparing {name}")  # how many records compaction has left, nobody tells
        last: dict[tuple[str, str], Read] = {}
        later: set[tuple[str, str]] = set()
        async for batch in _batches(cluster, decoder, topic(name), snapshot.positions, progress):
            for read in (*batch.servers, *batch.verdicts, *batch.notifications, *batch.audits):
                if read.offset < snapshot.positions[read.place]:
                    last[_key(name, read)] = read
                else:
                    later.add(_key(name, read))
        found = snapshot.rows[name]
        compared += len(found.keys() | last.keys())
        # What a topic deletes by age may be in the tables a little longer.
        is_table = name in (SERVERS, VERDICTS)
        differences += _differing(_TABLES[name].name, found, last, later if is_table else found.keys())
    return Compared(compared, snapshot.unreadable, differences)


def _snapshot(database: Database) -> _Snapshot:
    with database.reading(ALL_TENANTS) as connection:
        rows = {}
        for name, table in _TABLES.items():
            key = list(table.primary_key.columns)
            asked = select(*key, table.c.partition, table.c.source_offset, table.c.detail)
            rows[name] = {(row[0], row[1]): (row[2], row[3], row[4]) for row in connection.execute(asked)}
        offsets = connection.execute(select(CONSUMER_OFFSET))
        positions = {Place(row.topic, row.partition): row.position for row in offsets}
        counted = connection.execute(select(TENANT_COUNT))
        counts = {(row.tenant_id, row.status): row.n for row in counted if row.n}
        by_status = select(SERVER.c.tenant_id, SERVER.c.status, func.count()).group_by(
            SERVER.c.tenant_id, SERVER.c.status
        )
        for tenant_id, status, n in connection.execute(by_status):
            counts[tenant_id, status] = counts.get((tenant_id, status), 0) - n
        unreadable = connection.execute(select(func.count()).select_from(UNREADABLE)).scalar_one()
    return _Snapshot(rows, positions, counts, unreadable)


def _counted_wrongly(snapshot: _Snapshot) -> Iterator[Difference]:
    for key, n in sorted(snapshot.counts.items()):
        if n:
            yield Difference(TENANT_COUNT.name, key, f"differs by {n} from the servers")


async def _batches(
    cluster: Cluster, decoder: Decoder, topic: str, positions: Mapping[Place, int], progress: Progress
) -> AsyncIterator[Batch]:
    partitions = [TopicPartition(*place) for place in positions if place.topic == topic]
    if not partitions:
        return
    records: list[Any] = []
    async for record in read_partitions(cluster, dict.fromkeys(partitions)):
        records.append(record)
        progress.advance()
        if len(records) >= _RECORDS_AT_ONCE:
            yield decoder.decode(records, {})
            records = []
    yield decoder.decode(records, {})


def _key(name: str, read: Read) -> tuple[str, str]:
    if name in (SERVERS, VERDICTS):
        return read.key
    assert read.record is not None
    identity = stored_text(read.record["notification_id" if name == NOTIFICATIONS else "audit_id"])
    return read.key.tenant_id, identity or ""


def _differing(
    table: str, found: Rows, last: Mapping[tuple[str, str], Read], excused: Collection[tuple[str, str]]
) -> Iterator[Difference]:
    """What differs; a row without a record is `excused` where compaction may have deleted it for a later one."""
    for key in sorted(found.keys() | last.keys()):
        read, row = last.get(key), found.get(key)
        if read is None:
            if key not in excused:
                yield Difference(table, key, "is not on the topic")
            continue
        expected = read.detail
        if (None if row is None else row[2]) != expected:
            yield Difference(table, key, f"is not as {read.place.topic}-{read.place.partition}@{read.offset} has it")
