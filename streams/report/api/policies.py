"""What comes: announced policies and catalogues, and what they will do to a tenant's servers."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from streams.clock import wall_clock_ms
from streams.report.api.parameters import Asked, Cursor, Tenant
from streams.report.api.shapes import Announced, HitServer, Page
from streams.report.queries.reports import MOST_REPORTS, list_reports
from streams.report.web.coming import ComingPort
from streams.report.web.problems import PROBLEMS, checked_by_query, not_found
from streams.report.web.read_model import ReadModel
from streams.report.web.tenants import one_tenant_of

Reports = Annotated[
    int,
    QueryParameter(ge=1, le=MOST_REPORTS, description="How many servers are looked at; those that change are shown."),
]
Name = Annotated[str, PathParameter(max_length=200)]


class Policies(Controller):
    """Announced policies and catalogues."""

    path = "/policies"
    tags = ("policies",)

    @get("/announced", responses=PROBLEMS)
    async def list_announced(self, request: Asked, coming: NamedDependency[ComingPort]) -> list[Announced]:
        """List policies and catalogues that begin later, the next first."""
        return [Announced.of(one) for one in coming.announced(wall_clock_ms())]

    @get("/announced/{policy:str}/{version:str}/what-if", responses=PROBLEMS)
    async def show_what_if(
        self,
        request: Asked,
        read_model: NamedDependency[ReadModel],
        coming: NamedDependency[ComingPort],
        policy: Name,
        version: Name,
        tenant: Tenant = None,
        limit: Reports = MOST_REPORTS,
        cursor: Cursor = None,
    ) -> Page[HitServer]:
        """List servers that stand elsewhere once it has begun, in the order of their names.

        A page looks at some servers, so it may be empty and still have a cursor.
        """
        whose, name = one_tenant_of(request.user, tenant), f"{policy}/{version}"
        with checked_by_query():
            page = await read_model.ask(
                whose,
                lambda connection: list_reports(
                    connection, whose, key=read_model.cursor_key(connection), limit=limit, cursor=cursor
                ),
            )
        now = wall_clock_ms()
        try:
            hits = await read_model.run_alone(lambda: coming.hits(page.rows, name, now))
        except KeyError:
            raise not_found("policy", name) from None
        return Page([HitServer(*hit) for hit in hits], page.cursor)
