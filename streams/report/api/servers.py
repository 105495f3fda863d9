"""Servers: a page of them, one in full, all of them as a file."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from litestar.response import Stream

from streams.domain.bounds import MAX_SERVER_CHARS
from streams.report.api.exports import AS_CSV, AS_JSON_LINES, CSV, JSON_LINES, Form, started
from streams.report.api.parameters import Asked, Cursor, Limit, Search, Statuses, Tenant
from streams.report.api.shapes import Interval, Page, Server, ServerInFull, servers_of
from streams.report.queries.servers import ServerFilter, Sort, export_servers, list_servers, show_server
from streams.report.web.problems import PROBLEMS, checked_by_query, not_found
from streams.report.web.read_model import ReadModel
from streams.report.web.server_names import server_in_path
from streams.report.web.tenants import one_tenant_of, tenant_of
from streams.wire.records import to_json

ServerName = Annotated[
    str, PathParameter(max_length=MAX_SERVER_CHARS + 1, description="The server's name, as the list has it.")
]

Order = Annotated[
    Sort, QueryParameter(description="In which order: what needs action first, the latest first, by name.")
]


class Servers(Controller):
    """Servers and what is known of them."""

    path = "/"
    tags = ("servers",)

    @get("/servers", responses=PROBLEMS)
    async def list_servers(
        self,
        request: Asked,
        read_model: NamedDependency[ReadModel],
        tenant: Tenant = None,
        status: Statuses = None,
        search: Search = "",
        sort: Order = Sort.URGENCY,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Page[Server]:
        """List servers, those that need action first."""
        whose, wanted = tenant_of(request.user, tenant), ServerFilter(frozenset(status or ()), search)
        with checked_by_query():
            page = await read_model.ask(
                whose,
                lambda connection: list_servers(
                    connection,
                    whose,
                    key=read_model.cursor_key(connection),
                    wanted=wanted,
                    sort=sort,
                    limit=limit,
                    cursor=cursor,
                ),
            )
        return Page(servers_of(page.rows), page.cursor)

    @get("/servers/{server:path}", responses=PROBLEMS)
    async def show_server(
        self,
        request: Asked,
        read_model: NamedDependency[ReadModel],
        server: ServerName,
        tenant: Tenant = None,
    ) -> ServerInFull:
        """Show one server: schedule, evidence and history."""
        whose = one_tenant_of(request.user, tenant)
        name = server_in_path(request)
        found = await read_model.ask(whose, lambda connection: show_server(connection, whose, name))
        if found is None:
            raise not_found("server", name)
        return ServerInFull(
            servers_of([found.summary])[0],
            to_json(found.report),
            to_json(found.verdict),
            [Interval(**to_json(one)) for one in found.intervals],
        )

    @get("/export/servers.csv", media_type=CSV, responses=PROBLEMS)
    async def export_csv(
        self,
        request: Asked,
        read_model: NamedDependency[ReadModel],
        tenant: Tenant = None,
        status: Statuses = None,
        search: Search = "",
    ) -> Stream:
        """All servers as CSV, in the order of their names; a formula has an apostrophe before it."""
        return await _export(request, read_model, tenant, ServerFilter(frozenset(status or ()), search), AS_CSV)

    @get("/export/servers.jsonl", media_type=JSON_LINES, responses=PROBLEMS)
    async def export_json_lines(
        self,
        request: Asked,
        read_model: NamedDependency[ReadModel],
        tenant: Tenant = None,
        status: Statuses = None,
        search: Search = "",
    ) -> Stream:
        """All servers as lines of JSON, each as the list has it, in the order of their names."""
        return await _export(request, read_model, tenant, ServerFilter(frozenset(status or ()), search), AS_JSON_LINES)


async def _export(
    request: Asked, read_model: ReadModel, tenant: str | None, wanted: ServerFilter, form: Form
) -> Stream:
    rows = export_servers(read_model.database, tenant_of(request.user, tenant), wanted=wanted)
    return await started(read_model, rows, form)
