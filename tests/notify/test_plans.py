"""What became untrue is found and withdrawn by indices, in few statements."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Engine, event

from streams.database.database import Database
from streams.notices.tables import DELIVERY
from tests.support.channels import AWAY, RecordingChannel
from tests.support.notices import add_destination, notice, rows_of, subscribe
from tests.support.notify_site import Site

SERVERS = 300


def test_what_became_untrue_is_found_by_its_notices(database: Database) -> None:
    subscribe(database, add_destination(database))
    site = Site(database, channel=RecordingChannel(lambda _, __: AWAY))
    site.record(*(notice(number, server=f"mx{number}.contoso.com") for number in range(SERVERS)))
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        if "wanted" in statement or ("message_id" not in statement and "delivery.notice_tenant" in statement):
            asked.append((statement, values))

    event.listen(Engine, "before_cursor_execute", note)
    withdrawn = site.record(notice(SERVERS, server="mx1.contoso.com", kind="SERVER_RESOLVED", stage=None)).withdrawn
    event.remove(Engine, "before_cursor_execute", note)
    assert withdrawn == 1
    with database.writing() as connection:
        if database.kind == "postgresql":
            # So few rows would be looked through as a whole.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN" if database.kind == "postgresql" else "EXPLAIN QUERY PLAN"
        plans = [str(list(connection.exec_driver_sql(f"{explain} {text}", values))) for text, values in asked]
    assert ["notice_server" in plans[0], "delivery_notice" in plans[1]] == [True, True], plans
    assert "delivery_open" not in plans[1]


def test_what_became_untrue_is_withdrawn_by_few_statements(database: Database) -> None:
    for number in range(3):
        subscribe(database, add_destination(database, address=f"a{number}@contoso.example"))
    site = Site(database, channel=RecordingChannel(lambda _, __: AWAY))
    stages = [notice(number, kind="STAGE_UPCOMING", server=f"mx{number}.contoso.com") for number in range(SERVERS)]
    site.record(*stages)
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        if "UPDATE delivery" in statement:
            asked.append((statement, values))

    event.listen(Engine, "before_cursor_execute", note)
    pause = notice(SERVERS, kind="PAUSE_STARTED", server=None)
    withdrawn = site.record(pause, notice(SERVERS + 1, kind="PAUSE_EXTENDED", server=None)).withdrawn
    event.remove(Engine, "before_cursor_execute", note)
    rows = rows_of(database, DELIVERY)
    # The pause itself is withdrawn by what extends it; each has the first notice that says so.
    assert withdrawn == sum(row["state"] == "WITHDRAWN" for row in rows) == 3 * (SERVERS + 1)
    whys = Counter(row["why"] for row in rows)
    assert whys == {f"untrue since n{SERVERS}": 3 * SERVERS, f"untrue since n{SERVERS + 1}": 3, None: 3}
    assert len(asked) <= withdrawn // 300
    with database.writing() as connection:
        if database.kind == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN" if database.kind == "postgresql" else "EXPLAIN QUERY PLAN"
        plan = str(list(connection.exec_driver_sql(f"{explain} {asked[0][0]}", asked[0][1])))
    assert "SCAN delivery" not in plan
    assert "Seq Scan on delivery" not in plan
