"""Batches into tables: every way to cut, repeat and interleave records gives the rows of a simple fold."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from streams.database.database import ALL_TENANTS, Database, is_passing
from streams.database.positions import MovedError
from streams.database.sqlite import SqliteDatabase
from streams.domain.keys import ServerKey
from streams.domain.time import DAY_MS
from streams.kafka.places import Place
from streams.report.model.batch import AUDIT, NOTIFICATIONS, READ, SERVERS, VERDICTS, Read, Unreadable
from streams.report.store.folding import known_servers
from streams.report.store.opening import READ_MODEL, open_database
from streams.report.store.salvage import is_batchs_fault, salvage, write_or_salvage
from streams.report.store.tables import (
    CONSUMER_OFFSET,
    NOTIFICATION,
    SERVER,
    SERVER_DAY,
    SERVER_FORGOTTEN,
    SERVER_INTERVAL,
    TENANT_COUNT,
    UNREADABLE,
)
from streams.report.store.writer import TopicReplacedError, Writer
from streams.settings.report import ReportSettings
from tests.support.postgresql import PostgreSql
from tests.support.report import (
    SOURCE,
    START,
    audit_record,
    batch_of,
    empty,
    folded,
    model_of,
    notification_record,
    read_of,
    report_record,
    rows_of,
    verdict_record,
)
from tests.support.report_batches import SLOW_DATABASE, BrokenError, cut, topics


def ignore(_: str) -> None:
    """No failpoint."""


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW_DATABASE)
@given(data=st.data())
def test_any_batches_of_records_give_the_rows_of_a_simple_fold(database: Database, data: st.DataObject) -> None:
    found = data.draw(topics())
    batches = data.draw(st.composite(cut)(found))
    empty(database)
    writer = Writer(database, ignore)
    for batch in batches:
        writer.write(batch)
    assert model_of(database) == folded(read for reads in found.values() for read in reads)


def test_a_batch_behind_a_gap_is_given_up_and_writes_nothing(database: Database) -> None:
    writer = Writer(database, ignore)
    reads = [read_of(SERVERS, offset, report_record(at=START + offset)) for offset in range(4)]
    writer.write(batch_of(reads[:2]))
    with pytest.raises(MovedError, match="offset 2 is next, and not 3"):
        writer.write(batch_of(reads[3:]))
    assert model_of(database) == folded(reads[:2])


def test_a_topic_that_was_made_again_is_not_mixed_with_the_one_before(database: Database) -> None:
    writer = Writer(database, ignore)
    reads = [read_of(SERVERS, offset, report_record(at=START + offset)) for offset in range(2)]
    writer.write(batch_of(reads))
    other = dict.fromkeys(READ, SOURCE) | {SERVERS: "cluster/other"}
    with pytest.raises(TopicReplacedError, match="tes report rebuild"):
        writer.positions(other)
    batch = batch_of([read_of(SERVERS, 0, report_record())])
    batch.sources = other
    with pytest.raises(TopicReplacedError):
        writer.write(batch)
    assert model_of(database) == folded(reads)


@pytest.mark.parametrize("point", ["written", "positioned"])
def test_what_fails_before_the_commit_leaves_nothing(database: Database, point: str) -> None:
    def fail(reached: str) -> None:
        if reached == point:
            raise BrokenError

    reads = [read_of(SERVERS, 0, report_record()), read_of(VERDICTS, 0, verdict_record())]
    with pytest.raises(BrokenError):
        Writer(database, fail).write(batch_of(reads))
    assert not any(model_of(database).values())
    Writer(database, ignore).write(batch_of(reads))
    assert model_of(database) == folded(reads)


def test_unreadable_records_are_kept_by_place_and_passed_over(database: Database) -> None:
    batch = batch_of([read_of(SERVERS, 0, report_record())])
    place = Place(SERVERS, 0)
    batch.ends[place] = 3
    batch.unreadable = [Unreadable(place, 2, START, "first byte is 0x07, \0must be 0x00")]
    Writer(database, ignore).write(batch)
    Writer(database, ignore).write(batch)
    assert [row[:3] for row in rows_of(database, UNREADABLE)] == [(SERVERS, 0, 2)]
    assert rows_of(database, CONSUMER_OFFSET) == [(SERVERS, SOURCE, 0, 3)]


def test_texts_of_senders_are_kept_whatever_they_hold(database: Database) -> None:
    text = "a\0b\u202e<script>'\"\\\t\n\u2028é🦊"
    record = report_record(build_name=text, reason=text)
    notification = notification_record(1, title=text, command_id=text)
    audit = audit_record(1, issued_by=text, command_id=text, reason=text)
    reads = [read_of(SERVERS, 0, record), read_of(NOTIFICATIONS, 0, notification), read_of(AUDIT, 0, audit)]
    Writer(database, ignore).write(batch_of(reads))
    assert model_of(database) == folded(reads)
    assert len(rows_of(database, SERVER)) == 1


def test_a_server_forgotten_in_the_same_batch_leaves_its_history(database: Database) -> None:
    reads = [
        read_of(SERVERS, 0, report_record(accepted=3)),
        read_of(SERVERS, 1, report_record(at=START + 2 * DAY_MS, accepted=5, status="THROTTLED", stage=2)),
        read_of(SERVERS, 2, None, ServerKey("contoso", "mx1.contoso.com")),
    ]
    Writer(database, ignore).write(batch_of(reads))
    assert rows_of(database, SERVER) == []
    assert model_of(database) == folded(reads)


def test_the_life_of_a_forgotten_server_that_is_written_again_is_folded_once(database: Database) -> None:
    key, reads = ServerKey("contoso", "mx1.contoso.com"), list[Read]()
    for written_at in (START, START + 9 * DAY_MS):
        for day, status in enumerate(("REPORTED", "THROTTLED", "BLOCKED")):
            record = report_record(at=START + day * DAY_MS, accepted=4 * (day + 1), status=status)
            reads.append(read_of(SERVERS, len(reads), record)._replace(written_at=written_at))
        reads.append(Read(Place(SERVERS, 0), len(reads), max(written_at, START + 5 * DAY_MS), key, None))
    for read in reads[:4]:
        Writer(database, ignore).write(batch_of([read]))
    tables = (SERVER_INTERVAL, SERVER_DAY, TENANT_COUNT)
    once = [[row for row in rows_of(database, table) if any(row[4:]) or table is TENANT_COUNT] for table in tables]
    for read in reads[4:]:
        Writer(database, ignore).write(batch_of([read]))
    assert model_of(database) == folded(reads)
    assert [[row for row in rows_of(database, one) if any(row[4:]) or one is TENANT_COUNT] for one in tables] == once
    back = report_record(at=START + 12 * DAY_MS, accepted=1, first_seen_at=START + 12 * DAY_MS)
    reads.append(read_of(SERVERS, len(reads), back))
    Writer(database, ignore).write(batch_of(reads[-1:]))
    assert model_of(database) == folded(reads)
    assert rows_of(database, SERVER_FORGOTTEN) == []


def test_a_record_that_the_database_refuses_is_named_and_the_others_are_written(database: Database) -> None:
    good = [read_of(SERVERS, offset, report_record(f"mx{offset}.contoso.com")) for offset in (0, 2)]
    wrong = read_of(SERVERS, 1, report_record("mx1.contoso.com") | {"next_stage_start_date": 2**63})
    other = read_of(VERDICTS, 0, verdict_record())
    batch = batch_of([good[0], wrong, good[1], other])
    batch.ends[Place(SERVERS, 0)] = 5
    batch.unreadable = [Unreadable(Place(SERVERS, 0), 4, START, "not a record")]
    writer = Writer(database, ignore)
    with pytest.raises((OverflowError, DBAPIError)) as refused:
        writer.write(batch)
    assert is_batchs_fault(refused.value)
    assert [one.offset for one in salvage(writer, batch)] == [1]
    expected = folded([*good, other])
    assert {name: rows for name, rows in model_of(database).items() if name != "consumer_offset"} == {
        name: rows for name, rows in expected.items() if name != "consumer_offset"
    }
    assert rows_of(database, CONSUMER_OFFSET) == [(SERVERS, SOURCE, 0, 5), (VERDICTS, SOURCE, 0, 1)]
    assert [row[2] for row in rows_of(database, UNREADABLE)] == [1, 4]


@pytest.mark.database
def test_a_number_that_a_column_does_not_take_is_refused_and_not_cut_off(postgresql: PostgreSql) -> None:
    database = open_database(ReportSettings(database=postgresql.make_database()))
    database.migrate()
    reads = [read_of(SERVERS, 0, report_record(stage=1)), read_of(SERVERS, 1, report_record() | {"stage": 2**32 + 1})]
    refused = write_or_salvage(Writer(database, ignore), batch_of(reads))
    assert [one.offset for one in refused.passed_over] == [1]
    assert [row[6] for row in rows_of(database, SERVER)] == [1]
    database.close()


@pytest.mark.database
def test_a_right_that_is_gone_is_not_the_fault_of_a_record(database: Database, report_settings: ReportSettings) -> None:
    if not report_settings.database:
        return
    writer = Writer(database, ignore)
    batch = batch_of([read_of(SERVERS, 0, report_record())])
    for broken, mended in (
        ("REVOKE INSERT ON server FROM CURRENT_USER", "GRANT INSERT ON server TO CURRENT_USER"),
        ("ALTER TABLE server_day RENAME TO gone", "ALTER TABLE gone RENAME TO server_day"),
    ):
        with database.writing() as connection:
            connection.execute(text(broken))
        with pytest.raises(DBAPIError) as refused:
            writer.write(batch)
        assert is_passing(refused.value)
        assert not is_batchs_fault(refused.value)
        with database.writing() as connection:
            connection.execute(text(mended))
    assert writer.write(batch) == 1


def test_a_name_that_is_too_long_for_an_index_is_named_and_passed_over(database: Database) -> None:
    # Of chance, so that it cannot be packed.
    name = "".join(Random(1).choices("0123456789abcdef", k=20_000))
    reads = [
        read_of(NOTIFICATIONS, 0, notification_record(1, command_id=name)),
        read_of(NOTIFICATIONS, 1, notification_record(2)),
    ]
    refused = write_or_salvage(Writer(database, ignore), batch_of(reads))
    assert len(rows_of(database, NOTIFICATION)) + len(refused.passed_over) == 2
    assert rows_of(database, CONSUMER_OFFSET) == [(NOTIFICATIONS, SOURCE, 0, 2)]
    assert refused.written + len(refused.passed_over) == 2


def test_sqlite_looks_known_servers_up_and_not_through_the_whole_table(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path, READ_MODEL)
    database.migrate()
    asked: list[tuple[str, Any]] = []
    with database.reading(ALL_TENANTS) as connection:
        event.listen(connection, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
        known_servers(connection, [ServerKey("contoso", "a"), ServerKey("fabrikam", "b")])
        ((statement, parameters),) = asked
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    assert "SEARCH t USING INDEX sqlite_autoindex_server_1 (tenant_id=? AND server=?)" in plan
    database.close()
