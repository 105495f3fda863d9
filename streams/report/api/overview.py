"""What a tenant has at one look: counts by status, history by day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from streams.domain.time import days_of
from streams.report.api.parameters import Asked, Tenant
from streams.report.api.shapes import Day, StageCount, Summary, moment
from streams.report.queries.history import history
from streams.report.queries.servers import count_by_status
from streams.report.store.upkeep import current_at
from streams.report.web.problems import PROBLEMS, Problem, checked_by_query
from streams.report.web.read_model import ReadModel
from streams.report.web.tenants import tenant_of

MOST_DAYS = 400


class Overview(Controller):
    """Counts and history."""

    path = "/"
    tags = ("overview",)

    @get("/summary", responses=PROBLEMS)
    async def show_summary(
        self, request: Asked, read_model: NamedDependency[ReadModel], tenant: Tenant = None
    ) -> Summary:
        """Count servers by status."""
        whose = tenant_of(request.user, tenant)
        servers, at = await read_model.ask(
            whose, lambda connection: (count_by_status(connection, whose), current_at(connection))
        )
        return Summary(whose, servers, moment(at))

    @get("/history", responses=PROBLEMS)
    async def show_history(
        self,
        request: Asked,
        read_model: NamedDependency[ReadModel],
        first: Annotated[date, QueryParameter(description="The first UTC day.")],
        last: Annotated[date, QueryParameter(description="The last UTC day, at most 400 days after the first.")],
        tenant: Tenant = None,
    ) -> list[Day]:
        """Servers at the end of each day, and its connections."""
        if not 0 <= (last - first).days <= MOST_DAYS or days_of(first) < 0:
            raise Problem(
                HTTPStatus.BAD_REQUEST, f"last: {last}: must be from 0 to {MOST_DAYS} days after first ({first})"
            )
        whose, days = tenant_of(request.user, tenant), (days_of(first), days_of(last))
        with checked_by_query():
            found = await read_model.ask(whose, lambda connection: history(connection, whose, *days))
        return [
            Day(
                datetime.fromtimestamp(day.day * 86_400, UTC).date().isoformat(),
                [StageCount(status, stage, n) for (status, stage), n in sorted(day.servers.items())],
                day.accepted,
                day.delayed,
                day.refused,
            )
            for day in found
        ]
