"""A rebuild keeps the history: what is read again counts nothing twice, and what is new counts once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from streams.database.database import ALL_TENANTS, Database
from streams.domain.keys import ServerKey
from streams.domain.time import DAY_MS, HOUR_MS
from streams.kafka.places import Place
from streams.report.model.batch import NOTIFICATIONS, SERVERS, Read
from streams.report.store.carrying import carry_history, forget_unread, write_held
from streams.report.store.folding import Carried
from streams.report.store.opening import open_database
from streams.report.store.tables import (
    SERVER,
    SERVER_DAY,
    SERVER_FORGOTTEN,
    SERVER_INTERVAL,
    TENANT_COUNT,
    TENANT_VERSION,
    UNREADABLE,
)
from streams.report.store.upkeep import fact, prune, set_fact
from streams.report.store.writer import Writer
from streams.settings.report import ReportSettings
from tests.support.report import START, batch_of, empty, notification_record, read_of, report_record, rows_of
from tests.support.report_batches import SLOW_DATABASE


def ignore(_: str) -> None:
    """No failpoint."""


def written(database: Database, reads: list[Read], carried: Carried | None = None) -> None:
    """Write records, a few at a time."""
    for begin in range(0, len(reads), 3):
        Writer(database, ignore, carried).write(batch_of(reads[begin : begin + 3]))


def days_of(database: Database) -> list[tuple[Any, ...]]:
    """History by day without rows that add up to nothing."""
    return [row for row in rows_of(database, SERVER_DAY) if any(row[4:])]


def counts_of(database: Database) -> list[tuple[Any, ...]]:
    return [row for row in rows_of(database, TENANT_COUNT) if row[2]]


def compacted(reads: list[Read]) -> list[Read]:
    last = {read.key: read for read in reads}
    return [read for read in reads if last[read.key] is read]


GONE = ""
STATUSES = st.sampled_from(["REPORTED", "BLOCKED", "COMPLIANT", GONE])
REPORTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), STATUSES, st.integers(0, 3)),
    max_size=12,
)


def reports(drawn: list[tuple[int, int, str, int]]) -> list[Read]:
    """Reports of a few servers as live workers write them: moments and counters grow until a server is forgotten."""
    at, counts, reads = 0, dict.fromkeys(range(3), 0), []
    for offset, (server, hours, status, accepted) in enumerate(drawn):
        at += hours * 7 * HOUR_MS
        if status == GONE:
            key = ServerKey("contoso", f"mx{server}.contoso.com")
            reads.append(Read(Place(SERVERS, 0), offset, START + at, key, None))
            counts[server] = 0
            continue
        counts[server] += accepted
        changes = {"status": status, "accepted": counts[server], "first_seen_at": START + at}
        record = report_record(f"mx{server}.contoso.com", START + at, **changes)
        reads.append(read_of(SERVERS, offset, record))
    return reads


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW_DATABASE)
@given(before=REPORTS, after=REPORTS, is_compacted=st.booleans())
def test_a_rebuild_has_the_history_of_one_that_read_everything_once(
    database: Database,
    before: list[tuple[int, int, str, int]],
    after: list[tuple[int, int, str, int]],
    is_compacted: bool,
) -> None:
    empty(database)
    reads = reports(before + after)
    old, new = reads[: len(before)], reads[len(before) :]
    written(database, old)
    fresh = database.fresh()
    carried = carry_history(database, fresh)
    written(database, new)
    written(fresh, [*(compacted(old) if is_compacted else old), *new], carried)
    write_held(fresh, carried)
    assert forget_unread(fresh, START + 1000 * DAY_MS) == 0
    assert days_of(fresh) == days_of(database)
    assert counts_of(fresh) == counts_of(database)
    assert rows_of(fresh, SERVER_INTERVAL) == rows_of(database, SERVER_INTERVAL)
    assert rows_of(fresh, SERVER) == rows_of(database, SERVER)
    fresh.close()


def test_servers_that_the_topics_do_not_know_any_more_leave_from_then_on(database: Database) -> None:
    written(database, [read_of(SERVERS, offset, report_record(f"mx{offset}.contoso.com")) for offset in range(3)])
    with database.writing() as connection:
        set_fact(connection, "cursor_key", "00")
    fresh = database.fresh()
    carried = carry_history(database, fresh)
    assert carried.servers == 3
    written(fresh, [read_of(SERVERS, 0, report_record("mx1.contoso.com"))], carried)
    write_held(fresh, carried)
    assert forget_unread(fresh, START + 5 * DAY_MS) == 2
    assert [row[1] for row in rows_of(fresh, SERVER)] == ["mx1.contoso.com"]
    assert counts_of(fresh) == [("contoso", "REPORTED", 1)]
    day = START // DAY_MS
    assert [row[4:] for row in days_of(fresh)] == [(3, 3, 0, 0), (-2, 0, 0, 0)]
    assert [row[1] for row in days_of(fresh)] == [day, day + 5]
    with fresh.reading(ALL_TENANTS) as connection:
        assert fact(connection, "cursor_key") == "00"
    fresh.close()


def versions_of(database: Database) -> dict[str, int]:
    return dict(rows_of(database, TENANT_VERSION))


def test_whatever_changes_what_is_shown_of_a_tenant_gives_it_another_version(database: Database) -> None:
    records = [report_record("mx1.contoso.com"), report_record("mx2.fabrikam.com", tenant_id="fabrikam")]
    reads = [read_of(SERVERS, offset, record) for offset, record in enumerate(records)]
    later = report_record(at=START + 20 * DAY_MS, status="BLOCKED", stage=8)
    reads += [read_of(SERVERS, 2, later | {"server": "mx1.contoso.com"})]
    written(database, [*reads, read_of(NOTIFICATIONS, 0, notification_record(1, tenant_id="northwind"))])
    before = versions_of(database)
    prune(database, START // DAY_MS)
    assert versions_of(database) == before
    prune(database, START // DAY_MS + 5)
    pruned = versions_of(database)
    assert [tenant for tenant, n in pruned.items() if n > before[tenant]] == ["contoso", "fabrikam", "northwind"]
    prune(database, START // DAY_MS + 5)
    assert versions_of(database) == pruned
    fresh = database.fresh()
    carried = carry_history(database, fresh)
    # Also of a tenant of which nothing is left.
    assert all(n > pruned[tenant] for tenant, n in versions_of(fresh).items())
    held = [reads[0]._replace(offset=0)]
    written(fresh, held, carried)
    before = versions_of(fresh)
    assert write_held(fresh, carried) == []
    assert versions_of(fresh)["contoso"] > before["contoso"]
    before = versions_of(fresh)
    assert forget_unread(fresh, START + 30 * DAY_MS) == 1
    assert [tenant for tenant, n in versions_of(fresh).items() if n > before[tenant]] == ["fabrikam"]
    fresh.close()


def test_a_held_report_that_the_database_refuses_is_named_and_the_others_are_written(database: Database) -> None:
    names = [f"mx{number}.contoso.com" for number in range(3)]
    written(database, [read_of(SERVERS, n, report_record(name, START + DAY_MS)) for n, name in enumerate(names)])
    fresh = database.fresh()
    carried = carry_history(database, fresh)
    older = [report_record(name, status="BLOCKED") for name in names]
    older[1]["next_stage_start_date"] = 2**63
    written(fresh, [read_of(SERVERS, offset, record) for offset, record in enumerate(older)], carried)
    assert len(carried.held) == 3
    refused = write_held(fresh, carried)
    assert [one.offset for one in refused] == [1]
    assert [row[:3] for row in rows_of(fresh, UNREADABLE)] == [(SERVERS, 0, 1)]
    assert forget_unread(fresh, START + 2 * DAY_MS) == 1
    assert [row[1] for row in rows_of(fresh, SERVER)] == [names[0], names[2]]
    assert [row[5] for row in rows_of(fresh, SERVER)] == ["BLOCKED"] * 2
    fresh.close()


def test_topics_that_are_older_than_the_history_say_where_servers_are_and_nothing_is_counted(
    database: Database,
) -> None:
    reads = [
        read_of(SERVERS, 0, report_record(accepted=3)),
        read_of(SERVERS, 1, report_record(at=START + DAY_MS, accepted=9, status="BLOCKED", stage=8)),
    ]
    written(database, reads)
    fresh = database.fresh()
    carried = carry_history(database, fresh)
    written(fresh, reads[:1], carried)
    write_held(fresh, carried)
    assert forget_unread(fresh, START) == 0
    assert counts_of(fresh) == [("contoso", "REPORTED", 1)]
    assert sum(row[5] for row in days_of(fresh)) == 9
    fresh.close()


def test_a_write_that_fails_takes_no_report_back_that_was_held(database: Database) -> None:
    reads = [
        read_of(SERVERS, 0, report_record(accepted=3)),
        read_of(SERVERS, 1, report_record(at=START + DAY_MS, accepted=9)),
    ]
    written(database, reads)
    fresh = database.fresh()
    carried = carry_history(database, fresh)
    Writer(fresh, ignore, carried).write(batch_of(reads[:1]))
    assert list(carried.held.values()) == reads[:1]

    def fail(_: str) -> None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it is the only one
        Writer(fresh, fail, carried).write(batch_of(reads[1:]))
    assert list(carried.held.values()) == reads[:1]
    Writer(fresh, ignore, carried).write(batch_of(reads[1:]))
    assert not carried.held
    fresh.close()


def test_of_other_topics_what_is_not_later_than_the_history_counts_nothing(database: Database) -> None:
    written(database, [read_of(SERVERS, 0, report_record(at=START + DAY_MS, accepted=3, first_seen_at=START + DAY_MS))])
    fresh = database.fresh()
    carried = carry_history(database, fresh)
    records = [
        report_record("known.contoso.com", START, accepted=5),
        report_record("new.contoso.com", START + 2 * DAY_MS, accepted=7, first_seen_at=START + 2 * DAY_MS),
    ]
    batch = batch_of([read_of(SERVERS, offset, record) for offset, record in enumerate(records)])
    batch.sources = dict.fromkeys(batch.sources, "cluster/other")
    Writer(fresh, ignore, carried).write(batch)
    assert sum(row[5] for row in days_of(fresh)) == 3 + 7
    fresh.close()


def test_nothing_is_carried_from_an_empty_set(database: Database) -> None:
    fresh = database.fresh()
    assert carry_history(database, fresh) == Carried()
    fresh.close()


def test_old_history_is_pruned_and_the_rest_starts_from_what_it_came_to(database: Database) -> None:
    first = START // DAY_MS
    written(
        database,
        [
            read_of(SERVERS, 0, report_record(accepted=5)),
            read_of(SERVERS, 1, report_record(at=START + 3 * DAY_MS, accepted=7, status="BLOCKED", stage=8)),
            read_of(SERVERS, 2, report_record(at=START + 9 * DAY_MS, accepted=8, status="COMPLIANT")),
        ],
    )
    prune(database, first + 5)
    assert [row[1:] for row in days_of(database)] == [
        (first + 5, "BLOCKED", 8, 1, 0, 0, 0),
        (first + 9, "BLOCKED", 8, -1, 0, 0, 0),
        (first + 9, "COMPLIANT", 0, 1, 1, 0, 0),
    ]
    assert [row[4] for row in rows_of(database, SERVER_INTERVAL)] == ["BLOCKED"]
    prune(database, first + 5)
    assert len(days_of(database)) == 3
    forgotten = Read(Place(SERVERS, 0), 3, START + 10 * DAY_MS, ServerKey("contoso", "mx1.contoso.com"), None)
    written(database, [forgotten])
    prune(database, first + 10)
    assert len(rows_of(database, SERVER_FORGOTTEN)) == 1
    prune(database, first + 11)
    assert rows_of(database, SERVER_FORGOTTEN) == []


@pytest.mark.database
def test_what_is_written_while_old_history_is_pruned_is_not_lost(
    database: Database, report_settings: ReportSettings
) -> None:
    if not report_settings.database:
        return  # SQLite lets one transaction write at a time
    first = START // DAY_MS
    written(database, [read_of(SERVERS, 0, report_record(accepted=5))])
    late, isolated = iter([True]), open_database(report_settings)

    def write_late(*given: Any) -> None:
        if given[2].startswith("DELETE FROM server_day") and next(late, False):
            written(isolated, [read_of(SERVERS, 1, report_record("late.contoso.com"))])

    with database.writing() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", write_late)
    prune(database, first + 5)
    prune(database, first + 5)
    assert [row[1:5] for row in days_of(database)] == [(first + 5, "REPORTED", 0, 2)]
    isolated.close()
