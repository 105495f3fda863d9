"""Parameters that several operations have."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request
from litestar.params import QueryParameter

from streams.domain.bounds import MAX_SERVER_CHARS
from streams.domain.outputs.server_report import ServerStatus
from streams.report.access.callers import Caller
from streams.report.queries.cursors import MAX_CURSOR_CHARS
from streams.report.queries.servers import MOST_ROWS

Asked = Request[Caller, Any, Any]
"""A request of a known caller."""
Tenant = Annotated[
    str | None,
    QueryParameter(
        max_length=64, description="The tenant. Operators name one; without it they see all tenants in lists."
    ),
]
OwnerTenant = Annotated[
    str | None,
    QueryParameter(
        max_length=64, description="The tenant. Operators name one; without it these are the operators' own."
    ),
]
Statuses = Annotated[
    list[ServerStatus] | None,
    QueryParameter(max_items=len(ServerStatus), description="Only servers of these statuses."),
]
Search = Annotated[
    str,
    QueryParameter(max_length=MAX_SERVER_CHARS, description="Only servers whose names contain this, in whatever case."),
]
Limit = Annotated[int, QueryParameter(ge=1, le=MOST_ROWS, description="How many rows at most.")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=MAX_CURSOR_CHARS, description="The `next_cursor` of the page before.")
]
