"""What became of notices: of one notice at every destination, or of all notices at one."""

from __future__ import annotations

from http import HTTPStatus

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from streams.notices.model import Destination
from streams.report.page.visits import Visit
from streams.report.web.notices import MOST_ID_CHARS, checked_by_ledger, known_destination, list_deliveries, owner_for
from streams.report.web.problems import Problem
from streams.texts.notice_words import notice_words


@get("/notices/deliveries", include_in_schema=False)
async def show_deliveries(
    visit: NamedDependency[Visit],
    notification: FromQuery[str | None] = None,
    destination: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    """What became of notices, newest first."""
    for name, value in (("notification", notification), ("destination", destination)):
        if value is not None and len(value) > MOST_ID_CHARS:
            raise Problem(HTTPStatus.BAD_REQUEST, f"{name}: {value[:80]!r:.100}: must be an id of this page")
    owner = owner_for(visit.tenant)
    named: Destination | None = None
    with checked_by_ledger():
        page = await visit.ports.ledger.ask(
            owner.fence,
            lambda connection: list_deliveries(
                connection,
                owner.tenant,
                notification_id=notification or None,
                destination_id=destination or None,
                cursor=cursor,
            ),
        )
    if destination:
        named = await visit.ports.ledger.ask(
            owner.fence, lambda connection: known_destination(connection, owner.tenant, destination)
        )
    notice = notice_words(visit.language, page.rows[0].record) if notification and page.rows else None
    next_path = page.cursor and visit.path(
        "/notices/deliveries", notification=notification, destination=destination, cursor=page.cursor
    )
    return visit.page(
        "deliveries.html",
        deliveries=page.rows,
        destination=named,
        notice=notice,
        is_of_notice=bool(notification),
        next_path=next_path,
    )
