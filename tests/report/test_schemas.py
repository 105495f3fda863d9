"""Schemas of PostgreSQL: any name that is one's own, and what belongs to others is left alone."""

from __future__ import annotations

import psycopg
import pytest

from streams.database.database import DatabaseError
from streams.database.postgresql import PostgreSqlDatabase
from streams.report.store.opening import READ_MODEL
from streams.report.store.tables import SERVER
from tests.support.postgresql import PostgreSql
from tests.support.report import rows_of

pytestmark = pytest.mark.database
OTHERS = "server_of_others"


@pytest.fixture
def url(postgresql: PostgreSql) -> str:
    return postgresql.make_database()


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def make_others(url: str, schema: str) -> None:
    execute(url, f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.{OTHERS} (id int)")


def is_left_alone(url: str, schema: str) -> bool:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT to_regclass(%s)", (f"{schema}.{OTHERS}",)).fetchone()
    return found is not None and found[0] is not None


@pytest.mark.parametrize("schema", ["user", "select", "tes_report"])
def test_a_word_of_the_language_names_a_schema_too(url: str, schema: str) -> None:
    database = PostgreSqlDatabase(url, schema, READ_MODEL)
    for _ in range(2):
        database.migrate()
        assert database.size_bytes() > 0
        database.replace(database.fresh())
    assert rows_of(database, SERVER) == []
    database.close()


def test_a_schema_with_tables_of_others_is_not_taken(url: str) -> None:
    make_others(url, "crm")
    database = PostgreSqlDatabase(url, "crm", READ_MODEL)
    with pytest.raises(DatabaseError, match="TES_REPORT_SCHEMA: crm"):
        database.migrate()
    assert is_left_alone(url, "crm")
    database.close()


def test_an_empty_schema_that_was_made_beforehand_is_taken(url: str) -> None:
    execute(url, "CREATE SCHEMA tes_report")
    database = PostgreSqlDatabase(url, "tes_report", READ_MODEL)
    database.migrate()
    database.replace(database.fresh())
    database.close()


@pytest.mark.parametrize("ending", ["new", "old"])
def test_a_rebuild_deletes_no_schema_of_others(url: str, ending: str) -> None:
    database = PostgreSqlDatabase(url, "tes_report", READ_MODEL)
    database.migrate()
    make_others(url, f"tes_report_{ending}")
    with pytest.raises(DatabaseError, match=f"tes_report_{ending}"):
        database.replace(database.fresh())
    assert is_left_alone(url, f"tes_report_{ending}")
    assert rows_of(database, SERVER) == []
    database.close()


def test_a_rebuild_deletes_no_schema_of_another_report(url: str) -> None:
    database, other = (
        PostgreSqlDatabase(url, "tes_report", READ_MODEL),
        PostgreSqlDatabase(url, "tes_report_new", READ_MODEL),
    )
    for one in (database, other):
        one.migrate()
    with pytest.raises(DatabaseError, match="tes_report_new"):
        database.fresh()
    assert rows_of(other, SERVER) == []
    for one in (database, other):
        one.close()
