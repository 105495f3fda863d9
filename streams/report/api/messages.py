"""What a tenant was told, what became of commands, and what is paused."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from streams.clock import wall_clock_ms
from streams.domain.bounds import MAX_SERVER_CHARS
from streams.domain.outputs.notification import NotificationKind
from streams.domain.tenant.commands import CommandKind
from streams.report.api.parameters import Asked, Cursor, Limit, Tenant
from streams.report.api.shapes import Audited, Page, Pauses, waived_of
from streams.report.queries.messages import audits, notifications
from streams.report.queries.pauses import is_paused, pauses_of, quota_left
from streams.report.web.coming import ComingPort
from streams.report.web.problems import PROBLEMS, checked_by_query
from streams.report.web.read_model import ReadModel
from streams.report.web.tenants import one_tenant_of, tenant_of
from streams.wire.records import to_json


class Messages(Controller):
    """Notifications, audit records and pauses."""

    path = "/"
    tags = ("messages",)

    @get("/notifications", responses=PROBLEMS)
    async def list_notifications(
        self,
        request: Asked,
        read_model: NamedDependency[ReadModel],
        tenant: Tenant = None,
        server: Annotated[
            str | None, QueryParameter(max_length=MAX_SERVER_CHARS, description="Only about this server.")
        ] = None,
        kind: Annotated[
            list[NotificationKind] | None, QueryParameter(max_items=50, description="Only of these kinds.")
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Page[dict[str, Any]]:
        """List what a tenant was told, newest first, as the topic has it."""
        whose = tenant_of(request.user, tenant)
        with checked_by_query():
            page = await read_model.ask(
                whose,
                lambda connection: notifications(
                    connection,
                    whose,
                    key=read_model.cursor_key(connection),
                    server=server,
                    kinds=kind or (),
                    limit=limit,
                    cursor=cursor,
                ),
            )
        return Page([to_json(row) for row in page.rows], page.cursor)

    @get("/audit", responses=PROBLEMS)
    async def list_audit(
        self,
        request: Asked,
        read_model: NamedDependency[ReadModel],
        tenant: Tenant = None,
        kind: Annotated[
            list[CommandKind] | None, QueryParameter(max_items=50, description="Only of these kinds.")
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Page[Audited]:
        """List what became of commands, newest first; over all tenants also publications of policies and catalogues."""
        whose = tenant_of(request.user, tenant)
        with checked_by_query():
            page = await read_model.ask(
                whose,
                lambda connection: audits(
                    connection,
                    whose,
                    key=read_model.cursor_key(connection),
                    kinds=kind or (),
                    limit=limit,
                    cursor=cursor,
                ),
            )
        return Page([Audited(to_json(row.record), row.server) for row in page.rows], page.cursor)

    @get("/pauses", responses=PROBLEMS)
    async def list_pauses(
        self,
        request: Asked,
        read_model: NamedDependency[ReadModel],
        coming: NamedDependency[ComingPort],
        tenant: Tenant = None,
    ) -> Pauses:
        """Pauses and exceptions of a tenant, and its quota."""
        whose, now = one_tenant_of(request.user, tenant), wall_clock_ms()
        found = await read_model.ask(whose, lambda connection: pauses_of(connection, whose))
        return Pauses(
            [waived_of(one) for one in found.waivers],
            quota_left(found, coming.quota_days(now), now),
            is_paused(found, now),
        )
