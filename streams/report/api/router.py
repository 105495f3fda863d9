"""The API's routes."""

from __future__ import annotations

from typing import Final

from litestar import MediaType, Router, get

from streams.report.api.commands import Commands
from streams.report.api.destinations import DestinationsOfTenant
from streams.report.api.messages import Messages
from streams.report.api.overview import Overview
from streams.report.api.policies import Policies
from streams.report.api.servers import Servers
from streams.report.api.subscriptions import Deliveries, SubscriptionsOfTenant
from streams.report.web.etags import tag_answers

PROVIDED: Final = ("read_model", "commands", "coming", "ledger")
"""What the handlers ask for."""


@get("/openapi.json", include_in_schema=False, sync_to_thread=False, media_type=MediaType.JSON)
def show_document() -> bytes:
    """Show the OpenAPI document."""
    from streams.report.api.openapi import document  # it is made of these routes

    return document()


def api_router() -> Router:
    """Everything under `/v1`; answers are of their caller alone, and asked for again each time."""
    return Router(
        "/v1",
        route_handlers=[
            Overview,
            Servers,
            Messages,
            Policies,
            Commands,
            DestinationsOfTenant,
            SubscriptionsOfTenant,
            Deliveries,
            show_document,
        ],
        middleware=[tag_answers],
        response_headers={"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"},
    )
