"""What announced policies will hit: which servers, when, and why."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from streams.report.page.visits import Visit
from streams.report.queries.reports import list_reports
from streams.report.web.problems import checked_by_query


@get("/coming", include_in_schema=False)
async def show_coming(visit: NamedDependency[Visit], cursor: FromQuery[str | None] = None) -> Response[str]:
    """Everything that is announced, with those of a tenant's servers that it changes; some hundred are looked at."""
    tenant, model, coming = visit.one_tenant(), visit.ports.read_model, visit.ports.coming
    announced = coming.announced(visit.now)
    with checked_by_query():
        page = await model.ask(
            tenant,
            lambda connection: list_reports(connection, tenant, key=model.cursor_key(connection), cursor=cursor),
        )
    hits = await model.run_alone(lambda: [coming.hits(page.rows, one.name, visit.now) for one in announced])
    return visit.page(
        "coming.html",
        policies=list(zip(announced, hits, strict=True)),
        next_path=page.cursor and announced and visit.path("/coming", cursor=page.cursor),
        is_part=cursor is not None or page.cursor is not None,
    )
