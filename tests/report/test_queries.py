"""Questions to the read model: pages that miss and repeat nothing, fenced tenants, history, pauses."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import event

from streams.database.database import ALL_TENANTS, Database
from streams.domain.keys import ServerKey
from streams.domain.time import DAY_MS, HOUR_MS, iso
from streams.report.model.batch import AUDIT, NOTIFICATIONS, SERVERS, VERDICTS
from streams.report.model.statuses import URGENCY
from streams.report.queries import search
from streams.report.queries.cursors import CursorError, ensure_key
from streams.report.queries.history import history
from streams.report.queries.messages import audits, notifications, outcome_of
from streams.report.queries.pauses import pauses_of
from streams.report.queries.rows import ServerSummary
from streams.report.queries.servers import (
    ServerFilter,
    Sort,
    count_by_status,
    export_servers,
    list_servers,
    show_server,
    version_of,
)
from streams.report.store.tables import SERVER
from streams.report.store.upkeep import analyze
from streams.report.store.writer import Writer
from tests.support.report import (
    START,
    audit_record,
    batch_of,
    notification_record,
    read_of,
    report_record,
    rows_of,
    verdict_record,
)

STATUSES = ("BLOCKED", "THROTTLED", "REPORTED", "COMPLIANT", "VANISHED")
TENANTS = ("contoso", "fabrikam")


def ignore(_: str) -> None:
    """No failpoint."""


@pytest.fixture
def servers(database: Database) -> list[dict[str, Any]]:
    """Reports of servers of two tenants, which the database has; moments and dates repeat."""
    chance = random.Random(1)
    records = []
    for number in range(240):
        status = chance.choice(STATUSES)
        next_at = START + chance.randrange(5) * DAY_MS if chance.random() < 0.7 else None
        changes = {"status": status, "next_stage_start_date": next_at, "tenant_id": TENANTS[number % 2]}
        name = f"mx{number // 2}.{'ab_%'[number % 4]}x.example"
        records.append(report_record(name, START + chance.randrange(6) * HOUR_MS, **changes))
    reads = [read_of(SERVERS, offset, record) for offset, record in enumerate(records)]
    verdicts = [read_of(VERDICTS, 0, verdict_record(records[0]["server"]))]
    Writer(database, ignore).write(batch_of([*reads, *verdicts]))
    return records


def pages(database: Database, tenant: str, **asked: Any) -> list[ServerSummary]:
    """All rows, page by page."""
    key, cursor, rows = ensure_key(database), None, []
    while True:
        with database.reading(tenant) as connection:
            page = list_servers(connection, tenant, key=key, limit=7, cursor=cursor, **asked)
        rows += page.rows
        if page.cursor is None:
            return rows
        assert len(page.rows) == 7
        cursor = page.cursor


def name_of(row: dict[str, Any]) -> tuple[str, str]:
    return row["tenant_id"], row["server"]


ORDERS: dict[Sort, Any] = {
    Sort.URGENCY: lambda row: (URGENCY[row["status"]], row["next_stage_start_date"] or 2**53, *name_of(row)),
    Sort.LAST_SEEN: lambda row: (row["last_seen_at"], *name_of(row)),
    Sort.NAME: name_of,
}
WANTED = (
    ServerFilter(),
    ServerFilter(frozenset({"BLOCKED", "VANISHED"})),
    ServerFilter(search="MX1"),
    ServerFilter(frozenset({"REPORTED"}), "_x."),
    ServerFilter(search="%x.ex"),
    ServerFilter(search="\"'; --"),
    ServerFilter(search="a"),
)


@pytest.mark.parametrize("large", [1, 5_000])
@pytest.mark.parametrize("tenant", ["contoso", ALL_TENANTS])
def test_pages_follow_one_another_without_a_gap(
    database: Database, servers: list[dict[str, Any]], tenant: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LARGE", large)
    for sort, wanted in itertools.product(Sort, WANTED):
        expected = [
            row
            for row in servers
            if tenant in (ALL_TENANTS, row["tenant_id"])
            and (not wanted.statuses or row["status"] in wanted.statuses)
            and wanted.search.lower() in row["server"]
        ]
        expected.sort(key=ORDERS[sort], reverse=sort is Sort.LAST_SEEN)
        found = pages(database, tenant, wanted=wanted, sort=sort)
        assert [(row.tenant_id, row.server) for row in found] == list(map(name_of, expected)), (sort, wanted)
        if sort is Sort.NAME:
            exported = [row for part in export_servers(database, tenant, wanted=wanted, rows=11) for row in part]
            assert exported == found


def test_many_matches_are_found_in_order_without_the_index(
    database: Database, servers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LARGE", 1)
    monkeypatch.setattr(search, "MOST_FOUND", 3)
    found = pages(database, "contoso", wanted=ServerFilter(search="example"), sort=Sort.NAME)
    assert len(found) == sum(row["tenant_id"] == "contoso" for row in servers)


def work_of_search(database: Database, tenant: str, part: str) -> int:
    """What the database does for a search: steps of SQLite's machine, rows that PostgreSQL looks at."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        if "server_search" in statement:
            asked.append((statement, values))

    steps = itertools.count()
    with database.reading(tenant) as connection:
        driver: Any = connection.connection.driver_connection
        event.listen(connection, "before_cursor_execute", note)
        if database.kind == "sqlite":
            driver.set_progress_handler(lambda: next(steps) < 0, 1)
        try:
            assert search.few_matches(connection, tenant, part) == []
        finally:
            if database.kind == "sqlite":
                driver.set_progress_handler(None, 0)
        if database.kind == "sqlite":
            return next(steps)
        event.remove(connection, "before_cursor_execute", note)
        # So few rows would be looked through as a whole.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {asked[0][0]}", asked[0][1]).scalar_one()
    return rows_looked_at(plan[0]["Plan"])


OTHERS = 100
"""Names of another tenant that a search must not notice."""


def rows_looked_at(plan: dict[str, Any]) -> int:
    kinds = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return sum(int(plan.get(kind, 0)) for kind in kinds) + sum(map(rows_looked_at, plan.get("Plans", ())))


def test_a_search_does_not_tell_which_names_other_tenants_have(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LARGE", 1)
    names = [("contoso", f"mx{number}.contoso.com") for number in range(3_000)]
    names += [("fabrikam", f"mx{number}.secret.example") for number in range(OTHERS)]
    records = [report_record(name, tenant_id=tenant) for tenant, name in names]
    reads = [read_of(SERVERS, offset, record) for offset, record in enumerate(records)]
    Writer(database, ignore).write(batch_of(reads))
    analyze(database)
    # Less than a step for each of the other's names; SQLite reads a page or two of the index more.
    assert work_of_search(database, "contoso", "secret") - work_of_search(database, "contoso", "terces") < OTHERS
    forgotten = [read_of(SERVERS, 5_000, None, ServerKey("contoso", "mx7.contoso.com"))]
    Writer(database, ignore).write(batch_of(forgotten, {forgotten[0].place: len(reads)}))
    with database.reading("contoso") as connection:
        found = search.few_matches(connection, "contoso", "mx7.") or ()
        others = search.few_matches(connection, ALL_TENANTS, "mx7.") if database.kind == "sqlite" else None
    assert list(found) == []
    assert others in (None, [("fabrikam", "mx7.secret.example")])


@pytest.mark.parametrize("part", ["x" * 256, "mx\0", "mx\ud800", "mx\n", "\x7f"])
def test_a_search_for_what_no_name_has_is_refused(database: Database, part: str) -> None:
    wanted = ServerFilter(search=part)
    with database.reading("contoso") as connection, pytest.raises(ValueError, match=r"^search: .* must"):
        list_servers(connection, "contoso", key=b"k", wanted=wanted)
    with pytest.raises(ValueError, match=r"^search: .* must"):
        list(export_servers(database, "contoso", wanted=wanted))


@pytest.mark.parametrize("sort", [Sort.URGENCY, Sort.LAST_SEEN])
def test_the_first_servers_of_all_tenants_are_found_by_an_index(database: Database, sort: Sort) -> None:
    names = [(f"tenant{number % 50}", f"mx{number}.example") for number in range(2_000)]
    records = [report_record(name, START + number, tenant_id=tenant) for number, (tenant, name) in enumerate(names)]
    Writer(database, ignore).write(batch_of([read_of(SERVERS, *one) for one in enumerate(records)]))
    analyze(database)
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        if " FROM server " in " ".join(statement.split()):
            asked.append((statement, values))

    key = ensure_key(database)
    with database.reading(ALL_TENANTS) as connection:
        cursor = list_servers(connection, ALL_TENANTS, key=key, limit=5, sort=sort).cursor
        event.listen(connection, "before_cursor_execute", note)
        for place in (None, cursor):
            list_servers(connection, ALL_TENANTS, key=key, limit=5, sort=sort, cursor=place)
        event.remove(connection, "before_cursor_execute", note)
        assert asked
        explain = "EXPLAIN QUERY PLAN"
        if database.kind == "postgresql":
            explain = "EXPLAIN"
            # So few rows would be looked through as a whole, and sorted.
            for way in ("seqscan", "bitmapscan", "sort"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        for statement, values in asked:
            plan = str(list(connection.exec_driver_sql(f"{explain} {statement}", values)))
            assert {Sort.URGENCY: "server_urgent_all", Sort.LAST_SEEN: "server_seen_all"}[sort] in plan
            assert "Sort Key" not in plan
            assert "TEMP B-TREE" not in plan


def test_a_row_has_what_holds_now_by_the_verdict(database: Database, servers: list[dict[str, Any]]) -> None:
    found = {row.server: row for row in pages(database, "contoso")}
    first = found[servers[0]["server"]]
    assert (first.throttle_minutes, first.block_minutes) == (10, 0)
    assert first.next_at == servers[0]["next_stage_start_date"]
    assert (first.remedy_kb, first.connections) == ("KB5066369", 1)
    assert found[servers[2]["server"]].throttle_minutes is None


def test_a_cursor_is_of_one_tenant_and_one_question(database: Database, servers: list[dict[str, Any]]) -> None:
    key = ensure_key(database)
    assert key == ensure_key(database)
    assert servers
    with database.reading("contoso") as connection:
        cursor = list_servers(connection, "contoso", key=key, limit=3).cursor
        assert cursor is not None
        assert list_servers(connection, "contoso", key=key, limit=3, cursor=cursor).rows
        others: list[tuple[str, dict[str, Any]]] = [
            ("fabrikam", {}),
            ("contoso", {"sort": Sort.NAME}),
            ("contoso", {"wanted": ServerFilter(search="mx")}),
            ("contoso", {"cursor": cursor[:-2] + "AA"}),
            ("contoso", {"cursor": "é"}),
            ("contoso", {"cursor": ""}),
            ("contoso", {"cursor": "A" * 5_000}),
        ]
        for tenant, asked in others:
            with pytest.raises(CursorError):
                list_servers(connection, tenant, key=key, limit=3, **{"cursor": cursor, **asked})


def test_nothing_of_another_tenant_is_shown_or_counted(database: Database, servers: list[dict[str, Any]]) -> None:
    for tenant in (*TENANTS, "unknown"):
        own = [row for row in servers if row["tenant_id"] == tenant]
        with database.reading(tenant) as connection:
            assert count_by_status(connection, tenant) == dict(Counter(row["status"] for row in own))
            assert version_of(connection, tenant) == len(own) + (tenant == "contoso")
            name = next(row["server"] for row in servers if row["tenant_id"] != tenant)
            assert show_server(connection, tenant, name) is None
            days = history(connection, tenant, START // DAY_MS, START // DAY_MS)
            assert sum(days[0].servers.values()) == len(own)
    with database.reading(ALL_TENANTS) as connection:
        assert sum(count_by_status(connection, ALL_TENANTS).values()) == len(servers)


@pytest.mark.parametrize(("limit", "statuses"), [(0, ()), (1001, ()), (5, ("NEW",))])
def test_a_question_that_makes_no_sense_is_refused(database: Database, limit: int, statuses: tuple[str, ...]) -> None:
    with database.reading("contoso") as connection, pytest.raises(ValueError, match="must be"):
        list_servers(connection, "contoso", key=b"k", limit=limit, wanted=ServerFilter(frozenset(statuses)))


def test_one_server_has_its_records_and_what_held_before(database: Database) -> None:
    records = [
        report_record(at=START),
        report_record(at=START + DAY_MS, status="THROTTLED", stage=2),
        report_record(at=START + 2 * DAY_MS, status="COMPLIANT", finding="COMPLIANT", build="15.1.2507.61"),
    ]
    reads = [read_of(SERVERS, offset, record) for offset, record in enumerate(records)]
    Writer(database, ignore).write(batch_of([*reads, read_of(VERDICTS, 0, verdict_record(revision=3))]))
    with database.reading("contoso") as connection:
        found = show_server(connection, "contoso", "mx1.contoso.com")
    assert found is not None
    assert found.report == {name: value for name, value in records[-1].items() if value is not None}
    assert found.verdict is not None
    assert found.verdict["revision"] == 3
    assert [(one["begins_at"], one["ends_at"], one["status"]) for one in found.intervals] == [
        (START + 2 * DAY_MS, None, "COMPLIANT"),
        (START + DAY_MS, START + 2 * DAY_MS, "THROTTLED"),
        (START, START + DAY_MS, "REPORTED"),
    ]


def test_history_has_every_day_with_what_came_before_it(database: Database) -> None:
    first = START // DAY_MS
    reads = [
        read_of(SERVERS, 0, report_record(accepted=5)),
        read_of(SERVERS, 1, report_record(at=START + 2 * DAY_MS, accepted=9, deferred=2, status="THROTTLED", stage=2)),
        read_of(SERVERS, 2, report_record("mx2.contoso.com", first_seen_at=START, at=START, status="COMPLIANT")),
    ]
    Writer(database, ignore).write(batch_of(reads))
    with database.reading("contoso") as connection:
        days = history(connection, "contoso", first + 1, first + 3)
        assert [(day.day - first, day.accepted, day.delayed) for day in days] == [(1, 0, 0), (2, 4, 2), (3, 0, 0)]
        assert days[0].servers == {("REPORTED", 0): 1, ("COMPLIANT", 0): 1}
        assert days[1].servers == days[2].servers == {("THROTTLED", 2): 1, ("COMPLIANT", 0): 1}
        assert history(connection, "contoso", first, first)[0].accepted == 6
        with pytest.raises(ValueError, match="days"):
            history(connection, "contoso", first, first - 1)


def test_messages_are_shown_newest_first_in_pages(database: Database) -> None:
    key = ensure_key(database)
    told = [notification_record(number // 2, notification_id=f"n{number}") for number in range(9)]
    done = [audit_record(number) for number in range(5)]
    reads = [read_of(NOTIFICATIONS, offset, record) for offset, record in enumerate(told)]
    reads += [read_of(NOTIFICATIONS, 9, notification_record(0, notification_id="n", command_id="c3", server="mx3"))]
    reads += [read_of(AUDIT, offset, record) for offset, record in enumerate(done)]
    Writer(database, ignore).write(batch_of(reads))
    with database.reading("contoso") as connection:
        shown, cursor = [], None
        while True:
            page = notifications(connection, "contoso", key=key, limit=4, cursor=cursor)
            shown += page.rows
            cursor = page.cursor
            if cursor is None:
                break
        assert len(shown) == 10
        assert [row["occurred_at"] for row in shown] == sorted((row["occurred_at"] for row in shown), reverse=True)
        assert len(notifications(connection, "contoso", key=key, server="mx3").rows) == 1
        assert notifications(connection, "contoso", key=key, kinds=["PAUSE_ENDED"]).rows == []
        found = audits(connection, "contoso", key=key).rows
        assert [(one.record["audit_id"], one.server) for one in found] == [
            ("a4", None),
            ("a3", "mx3"),
            ("a2", None),
            ("a1", None),
            ("a0", None),
        ]
        outcome = outcome_of(connection, "contoso", "c3")
        assert outcome is not None
        assert outcome.record["outcome"] == "ACCEPTED"
        assert outcome_of(connection, "contoso", "unknown") is None
    with database.reading("fabrikam") as connection:
        assert notifications(connection, "fabrikam", key=key).rows == []
        assert audits(connection, "fabrikam", key=key).rows == []
        assert outcome_of(connection, "fabrikam", "c3") is None


def spans(*pairs: tuple[int, int], **others: Any) -> str:
    pauses = [{"starts_at": iso(START + begin * DAY_MS), "ends_at": iso(START + end * DAY_MS)} for begin, end in pairs]
    return json.dumps({"pauses": pauses, **others})


def test_pauses_are_as_the_last_command_about_them_left_them(database: Database) -> None:
    done = [
        audit_record(0, before=spans(), after=spans((0, 7)), quota_left_days=83),
        audit_record(1, before=spans((0, 7)), after=spans((0, 14)), quota_left_days=76),
        audit_record(2, outcome="REFUSED", before=spans((0, 14)), after=spans((0, 14)), quota_left_days=76),
        audit_record(3, kind="PAUSE_SERVER", after=spans((1, 3), exceptions=[], override=None), quota_left_days=74),
        audit_record(4, kind="PAUSE_CANCEL", before=spans((0, 14)), after=spans((0, 2)), quota_left_days=86),
    ]
    reads = [read_of(AUDIT, offset, record) for offset, record in enumerate(done)]
    reads.append(read_of(NOTIFICATIONS, 0, notification_record(1, command_id="c3", server="mx3.contoso.com")))
    Writer(database, ignore).write(batch_of(reads))
    with database.reading("contoso") as connection:
        found = pauses_of(connection, "contoso")
    assert [(one.kind, one.server, (one.ends_at - START) // DAY_MS) for one in found.waivers] == [
        ("PAUSE", "mx3.contoso.com", 3),
        ("PAUSE", None, 2),
    ]
    assert (found.quota_left_days, found.quota_at) == (86, START + 4)


def test_what_was_refused_costs_a_page_of_pauses_nothing_but_tells_the_quota(database: Database) -> None:
    after = json.dumps({"pauses": [{"starts_at": iso(START), "ends_at": iso(START + DAY_MS)}]})
    accepted = audit_record(1, before="{}", after=after, quota_left_days=89)
    refused = [audit_record(number, outcome="REFUSED", quota_left_days=88) for number in range(2, 200)]
    reads = [read_of(AUDIT, offset, record) for offset, record in enumerate([accepted, *refused])]
    Writer(database, ignore).write(batch_of(reads))
    statements: list[str] = []
    with database.reading("contoso") as connection:
        event.listen(connection, "before_cursor_execute", lambda *seen: statements.append(seen[2]))
        found = pauses_of(connection, "contoso")
    assert ([one.ends_at for one in found.waivers], found.quota_left_days) == ([START + DAY_MS], 88)
    assert [("audit.outcome =" in statement, "LIMIT" in statement) for statement in statements] == [
        (True, False),
        (False, True),
    ]


def test_names_are_found_whoever_wrote_their_rows(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LARGE", 1)
    reads = [read_of(SERVERS, offset, report_record(f"mx{offset}.contoso.com")) for offset in range(3)]
    Writer(database, ignore).write(batch_of(reads))
    row = list(rows_of(database, SERVER)[0])
    row[1] = "mx9.contoso.com"
    # As a version does that knows nothing of adding names.
    with database.writing() as connection:
        connection.execute(SERVER.insert().values(dict(zip(SERVER.columns.keys(), row, strict=True))))
    after = read_of(SERVERS, 3, report_record("mx3.contoso.com"))
    Writer(database, ignore).write(batch_of([after]))
    with database.reading("contoso") as connection:
        found = search.few_matches(connection, "contoso", "contoso.com") or ()
    assert sorted(found) == [("contoso", f"mx{number}.contoso.com") for number in (0, 1, 2, 3, 9)]
