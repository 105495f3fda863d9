"""What became untrue is found by indices: by notices of the same server, not among all deliveries that wait."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event

from streams.database.database import Database
from tests.support.channels import AWAY, RecordingChannel
from tests.support.notices import add_destination, notice, subscribe
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
