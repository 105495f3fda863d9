"""What a tenant was told: to whom it concerns, when, and what to do."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from streams.report.page.visits import Visit
from streams.report.queries.messages import notifications
from streams.report.web.problems import checked_by_query
from streams.texts.notice_words import notice_words


@get("/notices", include_in_schema=False)
async def show_notices(
    visit: NamedDependency[Visit], server: FromQuery[str | None] = None, cursor: FromQuery[str | None] = None
) -> Response[str]:
    """Notices, newest first, of one server where it is named."""
    tenant, model = visit.one_tenant(), visit.ports.read_model
    with checked_by_query():
        page = await model.ask(
            tenant,
            lambda connection: notifications(
                connection, tenant, key=model.cursor_key(connection), server=server or None, cursor=cursor
            ),
        )
    return visit.page(
        "notices.html",
        notices=[notice_words(visit.language, record) for record in page.rows],
        server=server,
        next_path=page.cursor and visit.path("/notices", server=server, cursor=page.cursor),
    )
