"""Who is told, when, and what a tenant was told."""

from __future__ import annotations

from typing import NamedTuple

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from sqlalchemy import Connection

from streams.database.database import is_all_tenants
from streams.notices.destinations import list_destinations
from streams.notices.messages import SentMessage, latest_tried
from streams.notices.model import Destination, Subscription
from streams.notices.subscriptions import list_subscriptions
from streams.report.page.done import done_sentence
from streams.report.page.visits import Visit
from streams.report.queries.messages import notifications
from streams.report.web.ledger import NoLedgerError
from streams.report.web.notices import owner_for
from streams.report.web.problems import checked_by_query
from streams.texts.notice_words import notice_words


class Reach(NamedTuple):
    """Who is told, and when: destinations, the latest message that was tried to each, subscriptions."""

    destinations: list[Destination]
    latest: dict[str, SentMessage]
    subscriptions: list[Subscription]

    def destination(self, destination_id: str) -> Destination | None:
        """A destination by its id; None where it was removed."""
        return next((one for one in self.destinations if one.destination_id == destination_id), None)


@get("/notices", include_in_schema=False)
async def show_notices(
    visit: NamedDependency[Visit],
    server: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    done: FromQuery[str | None] = None,
) -> Response[str]:
    """Who is told and when; then notices, newest first, of one server where it is named.

    An operator that names no tenant sees who of the operators is told.
    """
    tenant, model = visit.tenant, visit.ports.read_model
    notices, next_cursor = [], None
    if not is_all_tenants(tenant):
        with checked_by_query():
            page = await model.ask(
                tenant,
                lambda connection: notifications(
                    connection, tenant, key=model.cursor_key(connection), server=server or None, cursor=cursor
                ),
            )
        notices = [(notice_words(visit.language, record), record["notification_id"]) for record in page.rows]
        next_cursor = page.cursor
    return visit.page(
        "notices.html",
        notices=notices,
        server=server,
        is_first=not server and cursor is None,
        reach=await reach_of(visit),
        done=done_sentence(visit.language, done),
        next_path=next_cursor and visit.path("/notices", server=server, cursor=next_cursor),
    )


async def reach_of(visit: Visit) -> Reach | None:
    """Who is told, and when; None where notices are not set up."""
    owner = owner_for(visit.tenant)

    def ask(connection: Connection) -> Reach:
        return Reach(
            list_destinations(connection, owner.tenant),
            latest_tried(connection, owner.tenant),
            list_subscriptions(connection, owner.tenant),
        )

    try:
        return await visit.ports.ledger.ask(owner.fence, ask)
    except NoLedgerError:
        return None
