"""Sets of tables: made once, refused when they are newer, replaced at once, and fenced between tenants."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress

import pytest
from alembic.command import upgrade
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from streams.database import migrating
from streams.database.database import ALL_TENANTS, REBUILDING, Database, DatabaseError
from streams.database.positions import MovedError
from streams.database.upserts import Upsert, select_by_pairs
from streams.report.model.batch import SERVERS
from streams.report.store.opening import open_database
from streams.report.store.tables import CONSUMER_OFFSET, METADATA, SERVER, SERVER_FORGOTTEN, TENANT_COUNT
from streams.report.store.writer import Writer
from streams.settings.report import ReportSettings
from tests.support.report import START, TABLES, batch_of, model_of, read_of, report_record, rows_of


def ignore(_: str) -> None:
    """No failpoint."""


def fill(database: Database, *servers: str) -> None:
    reads = [read_of(SERVERS, offset, report_record(server)) for offset, server in enumerate(servers)]
    Writer(database, ignore).write(batch_of(reads))


def test_the_migrations_make_the_tables_that_statements_name(database: Database) -> None:
    for table in METADATA.tables.values():
        assert rows_of(database, table) == []


@pytest.mark.parametrize("name", ['mx"1', "mx\\2", "mx\x1f3\t", "é😀\u2028\x7f", "[1]", "null", "'", "%s?"])
def test_rows_are_found_by_whatever_they_are_called(database: Database, name: str) -> None:
    rows = [(name, name, 2**53 - 1, 0, -1, 1, 2), ("contoso", name, 3, 2**40, 5, 6, 7)]
    with database.writing() as connection:
        Upsert(SERVER_FORGOTTEN).write(connection, [*rows, (name, "mx", 1, 1, 1, 1, 1)])
    with database.reading(ALL_TENANTS) as connection:
        columns = ", ".join(SERVER_FORGOTTEN.c.keys())
        asked = [(name, name), ("contoso", name), ("fabrikam", name)]
        assert sorted(map(tuple, select_by_pairs(connection, columns, SERVER_FORGOTTEN, asked))) == sorted(rows)
        assert select_by_pairs(connection, columns, SERVER_FORGOTTEN, []) == []


def test_one_after_the_other_transactions_take_the_same_connection(database: Database) -> None:
    with ExitStack() as all_at_once:
        for _ in range(3):
            all_at_once.enter_context(database.reading("contoso"))
    used = set()
    for _ in range(3):
        with database.reading("contoso") as connection:
            used.add(id(connection.connection.driver_connection))
    assert len(used) == 1  # each connection has a cache of its own to fill


def test_processes_that_start_at_once_make_the_tables_once(report_settings: ReportSettings) -> None:
    databases = [open_database(report_settings) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda one: one.migrate(), databases))
    fill(databases[0], "mx1.contoso.com")
    assert len(rows_of(databases[3], SERVER)) == 1
    for one in databases:
        one.close()


def test_tables_of_a_newer_version_are_refused_and_left_alone(database: Database) -> None:
    fill(database, "mx1.contoso.com")
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="migration 9999, and this version knows them up to 0005"):
        database.migrate()
    assert len(rows_of(database, SERVER)) == 1


def test_tables_of_an_older_version_are_brought_up_to_date_with_their_rows(
    report_settings: ReportSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = open_database(report_settings)
    with monkeypatch.context() as patched:
        patched.setattr(migrating, "upgrade", lambda config, _: upgrade(config, "0001"))
        older.migrate()
    with older.writing() as connection:
        connection.execute(TENANT_COUNT.insert().values(tenant_id="contoso", status="REPORTED", n=3))
        assert not inspect(connection).has_table(SERVER_FORGOTTEN.name)
    older.close()
    database = open_database(report_settings)
    database.migrate()
    assert rows_of(database, TENANT_COUNT) == [("contoso", "REPORTED", 3)]
    fill(database, "mx1.contoso.com")
    assert rows_of(database, SERVER_FORGOTTEN) == []
    database.close()


def test_another_set_of_tables_takes_the_place_of_the_first_at_once(
    database: Database, report_settings: ReportSettings
) -> None:
    fill(database, "old.contoso.com")
    other = open_database(report_settings)
    assert [row[1] for row in rows_of(other, SERVER)] == ["old.contoso.com"]
    fresh = database.fresh()
    assert rows_of(fresh, SERVER) == []
    fill(fresh, "new.contoso.com")
    assert [row[1] for row in rows_of(database, SERVER)] == ["old.contoso.com"]
    database.replace(fresh)
    for one in (database, other):
        assert [row[1] for row in rows_of(one, SERVER)] == ["new.contoso.com"]
    # And again, for what was left of the first time is gone.
    again = database.fresh()
    database.replace(again)
    assert not any(model_of(other).values())
    other.close()


def test_a_write_that_is_under_way_does_not_end_in_the_tables_that_come(
    database: Database, report_settings: ReportSettings
) -> None:
    fill(database, "mx0.contoso.com")
    fresh, other = database.fresh(), open_database(report_settings)
    fill(fresh, "mx0.contoso.com")
    with ThreadPoolExecutor(1) as threads:
        replaced: list[Future[None]] = []

        def replace_meanwhile(step: str) -> None:
            if step == "written":
                replaced.append(threads.submit(other.replace, fresh))
                wait(replaced, timeout=1)

        later = [read_of(SERVERS, 1, report_record("mx1.contoso.com"))]
        # The end of the database's part in it, whichever: the tables in force then are read from where they are.
        with suppress(DBAPIError, MovedError):
            Writer(database, replace_meanwhile).write(batch_of(later))
        replaced[0].result()
    known = {row[1] for row in rows_of(database, SERVER)}
    assert [row[3] for row in rows_of(database, CONSUMER_OFFSET)] == [len(known)]
    Writer(database, ignore).write(batch_of(later))
    assert {row[1] for row in rows_of(database, SERVER)} == {"mx0.contoso.com", "mx1.contoso.com"}
    other.close()


def test_a_transaction_that_has_begun_stays_in_the_tables_that_it_began_on(
    database: Database, report_settings: ReportSettings
) -> None:
    fill(database, "old.contoso.com")
    fresh, other = database.fresh(), open_database(report_settings)
    with ThreadPoolExecutor(1) as threads:
        with database.reading(ALL_TENANTS) as connection:
            replaced = threads.submit(other.replace, fresh)
            wait([replaced], timeout=1)
            assert [row.server for row in connection.execute(SERVER.select())] == ["old.contoso.com"]
        replaced.result()
    assert rows_of(database, SERVER) == []
    other.close()


def test_a_reading_transaction_sees_one_state_and_writes_nothing(database: Database) -> None:
    fill(database, "mx1.contoso.com")
    with database.reading(ALL_TENANTS) as connection:
        first = connection.execute(SERVER.select()).all()
        reads = [read_of(SERVERS, offset, report_record(f"mx{offset}.contoso.com")) for offset in range(1, 3)]
        Writer(database, ignore).write(batch_of(reads))
        assert connection.execute(SERVER.select()).all() == first
    assert len(rows_of(database, SERVER)) == 3 - (1 if first[0][1] == "mx1.contoso.com" else 0)
    with pytest.raises(DBAPIError), database.reading(ALL_TENANTS) as connection:
        connection.execute(text("DELETE FROM server"))


def test_one_process_has_the_lease_and_another_after_it(report_settings: ReportSettings) -> None:
    database = open_database(report_settings)
    database.migrate()
    first, second, other = database.lease(), database.lease(), database.lease(REBUILDING)
    assert other.take()
    assert first.take()
    assert first.take()
    assert not second.take()
    first.give_back()
    assert second.take()
    second.give_back()
    other.give_back()
    database.close()


@pytest.mark.database
def test_postgresql_shows_a_transaction_only_the_rows_of_its_tenant(report_settings: ReportSettings) -> None:
    if not report_settings.database:
        return
    database = open_database(report_settings)
    database.migrate()
    reads = [
        read_of(SERVERS, offset, report_record() | {"tenant_id": tenant})
        for offset, tenant in enumerate(("contoso", "fabrikam"))
    ]
    Writer(database, ignore).write(batch_of(reads))
    for table in (table for table in TABLES if "tenant_id" in table.columns):
        for tenant, expected in (("contoso", {"contoso"}), (ALL_TENANTS, {"contoso", "fabrikam"}), ("", set[str]())):
            with database.reading(tenant) as connection:
                found = {row.tenant_id for row in connection.execute(table.select())}
            assert found <= expected, table.name
            assert table.name not in ("server", "tenant_count", "server_day") or found == expected, table.name
    database.close()


def test_the_tables_take_disk(database: Database) -> None:
    assert database.size_bytes() > 0


def test_what_comes_is_found_in_the_reports_of_an_older_version(
    report_settings: ReportSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = ((0, 0), (10, 0), (20, 0), (10, 10), (0, 60))
    schedule = [
        {"stage": n, "starts_at": START + n, "throttle_minutes_per_hour": delay, "block_minutes_per_hour": block}
        for n, (delay, block) in enumerate(rates)
    ]
    records = [
        report_record(f"mx{number}.contoso.com", next_stage_start_date=START + 1, schedule=schedule[: number % 6])
        for number in range(2_500)
    ]
    reads = [read_of(SERVERS, number, record) for number, record in enumerate(records)]
    older = open_database(report_settings)
    older.migrate()
    Writer(older, ignore).write(batch_of(reads))
    expected = rows_of(older, SERVER)
    with older.writing() as connection:
        # As the version before left it.
        connection.execute(text("DROP INDEX server_coming"))
        for name in ("delayed_at", "blocked_at"):
            connection.execute(text(f"ALTER TABLE server DROP COLUMN {name}"))
        connection.execute(text("DROP TABLE IF EXISTS server_names_added"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    older.close()
    database = open_database(report_settings)
    database.migrate()
    assert rows_of(database, SERVER) == expected
    moments = {row[-5:-3] for row in expected}
    assert moments == {(None, None), (START + 1, None), (START + 1, START + 3)}
    database.close()
