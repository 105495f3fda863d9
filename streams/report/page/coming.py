"""What announced policies will hit: which servers, when, and why."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from sqlalchemy import Connection

from streams.report.page.visits import Visit
from streams.report.queries.reports import MOST_REPORTS, list_reports
from streams.report.queries.rows import Page
from streams.report.queries.servers import count_by_status
from streams.report.web.problems import checked_by_query

SERVERS_AT_ONCE: Final = MOST_REPORTS
"""Servers that a page looks at: each is judged anew."""


@get("/coming", include_in_schema=False)
async def show_coming(visit: NamedDependency[Visit], cursor: FromQuery[str | None] = None) -> Response[str]:
    """Everything that is announced, with those of a tenant's servers that it changes; a page looks at some hundred."""
    tenant, model, coming = visit.one_tenant(), visit.ports.read_model, visit.ports.coming
    announced = coming.announced(visit.now)

    def ask(connection: Connection) -> tuple[Page[dict[str, Any]], int]:
        page = list_reports(connection, tenant, key=model.cursor_key(connection), limit=SERVERS_AT_ONCE, cursor=cursor)
        return page, sum(count_by_status(connection, tenant).values())

    with checked_by_query():
        page, n_servers = await model.ask(tenant, ask)
    hits = await model.run_alone(lambda: [coming.hits(page.rows, one.name, visit.now) for one in announced])
    return visit.page(
        "coming.html",
        policies=list(zip(announced, hits, strict=True)),
        next_path=page.cursor and announced and visit.path("/coming", cursor=page.cursor),
        is_part=cursor is not None or page.cursor is not None,
        n_looked_at=len(page.rows),
        n_servers=n_servers,
    )
