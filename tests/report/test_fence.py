"""Tenants are fenced: all of them are shown only to who asks for all, and a role that no fence holds is refused."""

from __future__ import annotations

import logging

import psycopg
import pytest
from sqlalchemy import text

from streams.database.database import ALL_TENANTS, Database, DatabaseError
from streams.report.queries.servers import count_by_status, list_servers, version_of
from streams.report.store.opening import open_database
from streams.report.store.tables import SERVER
from streams.report.store.upkeep import analyze
from streams.settings.report import ReportSettings
from tests.support.postgresql import PostgreSql
from tests.support.report import rows_of

KEY = b"k" * 32
STAR = "*"
"""As it comes from a request."""


def test_a_tenant_of_the_name_of_all_is_shown_nothing(database: Database) -> None:
    with pytest.raises(ValueError, match="tenant"), database.reading(STAR):
        pass
    with database.reading(ALL_TENANTS) as connection:
        for ask in (
            lambda: count_by_status(connection, STAR),
            lambda: version_of(connection, STAR),
            lambda: list_servers(connection, STAR, key=KEY),
        ):
            with pytest.raises(ValueError, match="tenant"):
                ask()
        assert list_servers(connection, ALL_TENANTS, key=KEY).rows == []


@pytest.mark.database
def test_the_names_that_are_searched_are_fenced_and_found_by_their_index(postgresql: PostgreSql) -> None:
    database = open_database(ReportSettings(database=postgresql.make_database()))
    database.migrate()
    names = [("contoso", f"mx{number}.contoso.com") for number in range(40_000)] + [("fabrikam", "mx1.secret.example")]
    with database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO server_search VALUES (%s, %s)", names)
    analyze(database)
    asked = text("SELECT tenant_id, server FROM server_search")
    for tenant, expected in (("contoso", names[:-1]), ("fabrikam", names[-1:]), ("", []), (ALL_TENANTS, names)):
        with database.reading(tenant) as connection:
            assert sorted(map(tuple, connection.execute(asked))) == sorted(expected)
    with database.reading("contoso") as connection:
        connection.execute(text("SELECT set_config('app.search', '%mx1234.%', true)"))
        plan = connection.exec_driver_sql(f"EXPLAIN {asked} WHERE tenant_id = 'contoso'").scalars().all()
        assert any("server_search_name" in line for line in plan), plan
        assert list(connection.execute(asked)) == [("contoso", "mx1234.contoso.com")]
    with database.reading("contoso") as connection:
        assert len(list(connection.execute(asked))) == 40_000
    database.close()


@pytest.fixture
def unfenced(postgresql: PostgreSql) -> str:
    """The address of a database for a role that row-level security does not hold for."""
    address = postgresql.make_database()
    with psycopg.connect(postgresql.url("postgres", "postgres"), autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'passer'").fetchone() is None:
            connection.execute("CREATE ROLE passer LOGIN BYPASSRLS")
            connection.execute("GRANT report TO passer")
    return address.replace("//report@", "//passer@")


@pytest.mark.database
def test_a_role_that_no_fence_holds_is_refused(unfenced: str) -> None:
    for address in (unfenced, unfenced.replace("//passer@", "//postgres@")):
        database = open_database(ReportSettings(database=address))
        with pytest.raises(DatabaseError, match="TES_REPORT_ALLOW_UNFENCED"):
            database.migrate()
        database.close()


@pytest.mark.database
def test_a_role_that_no_fence_holds_may_be_allowed_and_is_warned_of_once(
    unfenced: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = open_database(ReportSettings(database=unfenced, allow_unfenced=True))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            database.migrate()
        database.replace(database.fresh())
    assert [record.__dict__["event"] for record in caplog.records] == ["report_unfenced"]
    assert rows_of(database, SERVER) == []
    database.close()
