"""Lists of many rows are found by an index: what is asked does not look through a table, nor sort it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event

from streams.database.database import ALL_TENANTS, Database
from streams.domain.time import DAY_MS
from streams.kafka.places import Place
from streams.report.model.batch import AUDIT, NOTIFICATIONS, SERVERS
from streams.report.queries.episodes import count_ahead, reports_in_episode
from streams.report.queries.messages import PUBLICATIONS, audits, notifications, outcome_of
from streams.report.queries.waivers import waived_servers
from streams.report.store.upkeep import analyze
from streams.report.store.writer import Writer
from tests.support.report import START, audit_record, batch_of, notification_record, read_of, report_record

Ask = Callable[[Connection], Any]
KEY = b"k"
ROWS = 2_000


def plans_of(database: Database, tenant: str, ask: Ask) -> list[str]:
    """How the database answers each statement of a question."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        asked.append((statement, values))

    with database.reading(tenant) as connection:
        event.listen(connection, "before_cursor_execute", note)
        ask(connection)
        event.remove(connection, "before_cursor_execute", note)
        explain = "EXPLAIN QUERY PLAN"
        if database.kind == "postgresql":
            explain = "EXPLAIN"
            # So few rows would be looked through as a whole, and sorted.
            for way in ("seqscan", "bitmapscan", "sort"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        return [str(list(connection.exec_driver_sql(f"{explain} {text}", values))) for text, values in asked]


@pytest.fixture
def filled(database: Database) -> Database:
    """Servers of fifty tenants, one in a hundred of them waived; what they were told, and what they asked for."""
    reads = []
    for number in range(ROWS):
        tenant = f"tenant{number % 50}"
        until = START + number * DAY_MS if number % 100 == 0 else None
        about = {"tenant_id": tenant, "occurred_at": START + number}
        facts: dict[str, Any] = {"tenant_id": tenant, "exempt_until": until}
        if number % 100 < 50:
            facts["next_stage_start_date"] = START + number
        reads += [
            read_of(SERVERS, number, report_record(f"mx{number}.example", **facts)),
            read_of(NOTIFICATIONS, number, notification_record(number, **about)),
            read_of(AUDIT, number, audit_record(number, **about)),
        ]
    Writer(database, lambda _: None).write(batch_of(reads))
    analyze(database)
    return database


@pytest.mark.parametrize(
    ("index", "ask"),
    [
        ("notification_recent_all", lambda connection: notifications(connection, ALL_TENANTS, key=KEY, limit=5)),
        ("audit_recent_all", lambda connection: audits(connection, ALL_TENANTS, key=KEY, limit=5)),
    ],
)
def test_the_latest_of_all_tenants_are_found_by_an_index(filled: Database, index: str, ask: Ask) -> None:
    (plan,) = plans_of(filled, ALL_TENANTS, ask)
    assert index in plan
    assert "Sort Key" not in plan
    assert "TEMP B-TREE" not in plan


def test_a_page_behind_the_first_is_found_by_an_index(filled: Database) -> None:
    with filled.reading(ALL_TENANTS) as connection:
        cursor = notifications(connection, ALL_TENANTS, key=KEY, limit=5).cursor
    (plan,) = plans_of(
        filled, ALL_TENANTS, lambda connection: notifications(connection, ALL_TENANTS, key=KEY, limit=5, cursor=cursor)
    )
    assert "notification_recent_all" in plan
    assert "TEMP B-TREE" not in plan


def test_publications_are_not_looked_for_among_all_records(filled: Database) -> None:
    published = audit_record(0, tenant_id="*", command_id=None, kind="POLICY_PUBLISHED", occurred_at=START)
    Writer(filled, lambda _: None).write(batch_of([read_of(AUDIT, ROWS, published)], {Place(AUDIT, 0): ROWS}))
    found = []

    def ask(connection: Connection) -> None:
        found.extend(audits(connection, ALL_TENANTS, key=KEY, kinds=PUBLICATIONS, limit=10).rows)

    (plan,) = plans_of(filled, ALL_TENANTS, ask)
    assert [one.record["kind"] for one in found] == ["POLICY_PUBLISHED"]
    assert "audit_recent " in plan
    assert "TEMP B-TREE" not in plan


def test_the_outcome_of_a_command_is_found_by_an_index(filled: Database) -> None:
    (plan,) = plans_of(filled, "tenant1", lambda connection: outcome_of(connection, "tenant1", "c1"))
    assert "audit_command" in plan


def test_what_comes_is_counted_by_an_index(filled: Database) -> None:
    (plan,) = plans_of(filled, "tenant0", lambda connection: count_ahead(connection, "tenant0"))
    assert "server_coming" in plan


def test_the_furthest_servers_are_found_by_an_index(filled: Database) -> None:
    (plan,) = plans_of(filled, "tenant0", lambda connection: reports_in_episode(connection, "tenant0", 3))
    assert "server_coming" in plan


@pytest.mark.parametrize("tenant", ["tenant0", ALL_TENANTS])
def test_waived_servers_are_found_by_an_index(filled: Database, tenant: str) -> None:
    found = []

    def ask(connection: Connection) -> None:
        found.extend(waived_servers(connection, tenant, START + 500 * DAY_MS))

    (plan,) = plans_of(filled, tenant, ask)
    assert [row.server for row in found][:2] == ["mx600.example", "mx700.example"]
    assert "server_waived" in plan


def test_no_question_waits_for_a_compiler(filled: Database) -> None:
    if filled.kind != "postgresql":
        return
    with filled.reading("tenant0") as connection:
        connection.exec_driver_sql("SET LOCAL jit_above_cost = 0")
        plan = str(list(connection.exec_driver_sql("EXPLAIN ANALYZE SELECT max(stage) FROM server")))
    assert "JIT" not in plan
