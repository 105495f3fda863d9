"""Records of the topics that the report reads, batches of them, and a model folded from them by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Table, delete, select

from streams.database.database import ALL_TENANTS, Database
from streams.domain.keys import ServerKey
from streams.domain.time import DAY_MS
from streams.kafka.places import Place
from streams.report.model.batch import AUDIT as AUDITS
from streams.report.model.batch import NOTIFICATIONS, READ, SERVERS, VERDICTS, Batch, Read
from streams.report.model.servers import ServerFold
from streams.report.store.rows import (
    audit_row,
    command_row,
    forgotten_row,
    interval_row,
    notification_row,
    server_row,
    verdict_row,
)
from streams.report.store.tables import (
    AUDIT,
    COMMAND,
    CONSUMER_OFFSET,
    NOTIFICATION,
    SERVER,
    SERVER_DAY,
    SERVER_FORGOTTEN,
    SERVER_INTERVAL,
    TENANT_COUNT,
    TENANT_VERSION,
    VERDICT,
)
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry

SOURCE = "cluster/topic-id"
START = 20_700 * DAY_MS
"""A day in 2026."""
NO_KEY = ServerKey("", "")
TABLES = (
    SERVER,
    SERVER_INTERVAL,
    SERVER_FORGOTTEN,
    SERVER_DAY,
    TENANT_COUNT,
    TENANT_VERSION,
    VERDICT,
    NOTIFICATION,
    AUDIT,
    COMMAND,
    CONSUMER_OFFSET,
)
_CODECS = {name: AvroCodec(name, LocalRegistry()) for name in READ}


def decoded(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """A record with the defaults of its schema."""
    return _CODECS[name].decode(_CODECS[name].encode(record))


def encoded(name: str, record: dict[str, Any]) -> bytes:
    """A record's value."""
    return _CODECS[name].encode(record)


def report_record(server: str = "mx1.contoso.com", at: int = START, **changes: Any) -> dict[str, Any]:
    """A server's report; `at` is its moment and that of its latest connection."""
    record: dict[str, Any] = {
        "tenant_id": "contoso",
        "server": server,
        "identity": "STAMP",
        "build": "15.1.2507.39",
        "build_name": "Exchange Server 2016 CU23 Apr24HU",
        "exchange_server": "Exchange Server 2016",
        "finding": "OUT_OF_DATE",
        "reason": "Exchange Server 2016 CU23 Apr24HU is out of date.",
        "stage": 0,
        "status": "REPORTED",
        "action": "ACCEPT",
        "first_seen_at": START,
        "last_seen_at": at,
        "recommended_build_versions": ["15.1.2507.61"],
        "remedy": {"name": "Exchange Server 2016 CU23 Oct25SU", "kb": "KB5066369"},
        "cves": ["CVE-2026-0001"],
        "connections": 1,
        "accepted": 1,
        "deferred": 0,
        "rejected": 0,
        "connector_id": "c1",
        "connector_type": "ON_PREMISES",
        "source_ip": "192.0.2.1",
        "schedule": [],
        "verdict_revision": 1,
        "policy_id": "p",
        "policy_version": 1,
        "reported_at": at,
    }
    return decoded(SERVERS, record | changes)


def verdict_record(server: str = "mx1.contoso.com", revision: int = 1, **changes: Any) -> dict[str, Any]:
    """A verdict about a server."""
    record: dict[str, Any] = {
        "verdict_id": f"{server}-{revision}",
        "revision": revision,
        "tenant_id": "contoso",
        "server": server,
        "identity": "STAMP",
        "action": "THROTTLE",
        "stage": 2,
        "throttle_minutes_per_hour": 10,
        "block_minutes_per_hour": 0,
        "finding": "OUT_OF_DATE",
        "reason": "",
        "cves": [],
        "effective_at": START,
        "schedule": [],
        "policy_id": "p",
        "policy_version": 1,
        "issued_at": START,
    }
    return decoded(VERDICTS, record | changes)


def notification_record(number: int, **changes: Any) -> dict[str, Any]:
    """A notification to a tenant."""
    record: dict[str, Any] = {
        "notification_id": f"n{number}",
        "kind": "STAGE_ENTERED",
        "severity": "WARNING",
        "tenant_id": "contoso",
        "server": "mx1.contoso.com",
        "occurred_at": START + number,
        "title": "Mail is delayed",
        "text": "Mail of mx1.contoso.com is delayed.",
        "cves": [],
    }
    return decoded(NOTIFICATIONS, record | changes)


def audit_record(number: int, **changes: Any) -> dict[str, Any]:
    """What became of a command."""
    record: dict[str, Any] = {
        "audit_id": f"a{number}",
        "command_id": f"c{number}",
        "tenant_id": "contoso",
        "kind": "PAUSE_CREATE",
        "outcome": "ACCEPTED",
        "issued_by": "admin",
        "occurred_at": START + number,
    }
    return decoded(AUDITS, record | changes)


def read_of(name: str, offset: int, record: dict[str, Any] | None, key: ServerKey = NO_KEY, partition: int = 0) -> Read:
    """A record as it is read; the key follows from the record where there is one."""
    if record is not None:
        key = ServerKey(record["tenant_id"], record["server"] if name in (SERVERS, VERDICTS) else "")
    return Read(Place(name, partition), offset, START + offset, key, record)


def batch_of(reads: Sequence[Read], begins: dict[Place, int] | None = None) -> Batch:
    """A batch of records in the order of their topics; it begins at their first offsets."""
    batch = Batch(dict.fromkeys(READ, SOURCE))
    for read in reads:
        batch.begins.setdefault(read.place, (begins or {}).get(read.place, read.offset))
        batch.ends[read.place] = read.offset + 1
    batch.servers = [read for read in reads if read.place.topic == SERVERS]
    batch.verdicts = [read for read in reads if read.place.topic == VERDICTS]
    batch.notifications = [read for read in reads if read.place.topic == NOTIFICATIONS]
    batch.audits = [read for read in reads if read.place.topic == AUDITS]
    return batch


def rows_of(database: Database, table: Table) -> list[tuple[Any, ...]]:
    """All rows of a table, in order of their keys."""
    with database.reading(ALL_TENANTS) as connection:
        return sorted((tuple(row) for row in connection.execute(select(table))), key=repr)


def empty(database: Database) -> None:
    """Delete all rows that follow from records."""
    with database.writing() as connection:
        for table in TABLES:
            connection.execute(delete(table))


def model_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that follow from records."""
    return {table.name: rows_of(database, table) for table in TABLES}


def folded(reads: Iterable[Read]) -> dict[str, list[tuple[Any, ...]]]:
    """The rows that follow from records, each taken once, one after the other."""
    fold = ServerFold({})
    servers: dict[ServerKey, tuple[Any, ...]] = {}
    rows: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {table.name: {} for table in TABLES}
    versions: Counter[str] = Counter()
    for read in reads:
        name, record = read.place.topic, read.record
        key = read.key
        versions[key.tenant_id] += 1
        rows["consumer_offset"][read.place] = (name, SOURCE, read.place.partition, read.offset + 1)
        if name == SERVERS and record is not None:
            fold.take(key, record, read.written_at)
            facts = fold.facts[key]
            assert facts is not None
            servers[key] = server_row(read, facts)
        elif name == SERVERS:
            fold.forget(key, read.written_at)
            servers.pop(key, None)
        elif name == VERDICTS and record is not None:
            rows["verdict"][key] = verdict_row(read)
        elif name == VERDICTS:
            rows["verdict"].pop(key, None)
        elif name == NOTIFICATIONS:
            row, command = notification_row(read), command_row(read)
            rows["notification"][row[:2]] = row
            if command is not None:
                rows["command"][command[:2]] = command
        else:
            row = audit_row(read)
            rows["audit"][row[:2]] = row
    intervals = {place: interval_row(interval) for place, interval in fold.ended.items()}
    rows["server"] = {tuple(key): row for key, row in servers.items()}
    rows["server_interval"] = dict(intervals)
    marks = [forgotten_row(key, mark) for key, mark in fold.forgotten.items() if mark is not None]
    rows["server_forgotten"] = {row[:2]: row for row in marks}
    rows["server_day"] = {key: (*key, *row) for key, row in fold.days.items()}
    rows["tenant_count"] = {key: (*key, n) for key, n in fold.counts.items()}
    rows["tenant_version"] = {(tenant,): (tenant, n) for tenant, n in versions.items()}
    return {name: sorted(found.values(), key=repr) for name, found in rows.items()}
