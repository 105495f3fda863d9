"""Pauses: the quota of the year, what runs, what was; and the form that asks for one, with what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from streams.domain.tenant.commands import CommandKind
from streams.domain.tenant.quota import year_of
from streams.report.access.callers import require_admin
from streams.report.page.asking import ask_engine, outcome_shown, read_form
from streams.report.page.forms import MOST_DAYS, Faults, new_key, read_command, read_days
from streams.report.page.pausing import move_stages, preview_pause, tenant_paused_until
from streams.report.page.visits import PageRequest, Visit
from streams.report.queries.episodes import reports_in_episode
from streams.report.queries.messages import audits
from streams.report.queries.pauses import KINDS, PAUSE, pauses_of, quota_left
from streams.report.queries.servers import show_server
from streams.report.web.problems import not_found

MOST_MOVED: Final = 8
"""Servers whose dates a pause of all of them is shown with."""
DEFAULT_DAYS: Final = "14"


@get("/pauses", include_in_schema=False)
async def show_pauses(visit: NamedDependency[Visit], done: FromQuery[str | None] = None) -> Response[str]:
    """Quota, running pauses, and what became of earlier commands."""
    tenant, model = visit.one_tenant(), visit.ports.read_model
    pauses, audited = await model.ask(
        tenant,
        lambda connection: (
            pauses_of(connection, tenant),
            audits(connection, tenant, key=model.cursor_key(connection), kinds=KINDS).rows,
        ),
    )
    quota = visit.ports.coming.quota_days(visit.now)
    return visit.page(
        "pauses.html",
        outcome=await outcome_shown(visit, done),
        quota=quota,
        left=quota_left(pauses, quota, visit.now),
        year=year_of(visit.now),
        paused_until=tenant_paused_until(pauses, visit.now),
        running=[one for one in pauses.waivers if one.starts_at <= visit.now < one.ends_at],
        pause=PAUSE,
        audited=audited,
        key=new_key,
    )


@get("/pauses/new", include_in_schema=False, guards=[require_admin])
async def show_pause_form(
    visit: NamedDependency[Visit], server: FromQuery[str | None] = None, days: FromQuery[str] = DEFAULT_DAYS
) -> Response[str]:
    """The form that asks for a pause, with its cost and the dates that follow."""
    return await _form(visit, server or None, days, new_key(), {})


@post("/pauses", include_in_schema=False, guards=[require_admin], status_code=HTTPStatus.OK)
async def create_pause(visit: NamedDependency[Visit], request: PageRequest) -> Response[Any]:
    """Ask for a pause, or end one; then show what became of it."""
    form = await read_form(request)
    server = form.get("server") or None
    kind = CommandKind.PAUSE_CREATE if server is None else CommandKind.PAUSE_SERVER
    if form.get("action") == "cancel":
        kind = CommandKind.PAUSE_CANCEL
    command = read_command(visit.language, form, kind, visit.now)
    if isinstance(command, Faults):
        return await _form(visit, server, form.get("days", ""), form["key"], command.by_field)
    return await ask_engine(visit, command, "/pauses")


async def _form(visit: Visit, server: str | None, days_text: str, key: str, faults: Mapping[str, str]) -> Response[str]:
    tenant, days = visit.one_tenant(), read_days(days_text)

    def ask(connection: Any) -> Any:
        pauses = pauses_of(connection, tenant)
        if server is None:
            return pauses, reports_in_episode(connection, tenant, MOST_MOVED + 1)
        found = show_server(connection, tenant, server)
        return pauses, None if found is None else [found.report]

    pauses, reports = await visit.ports.read_model.ask(tenant, ask)
    if reports is None:
        raise not_found("server", server or "")
    quota = visit.ports.coming.quota_days(visit.now)
    preview = None if days is None else preview_pause(pauses, server, days, visit.now, quota)
    return visit.page(
        "pause_form.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if faults else HTTPStatus.OK,
        server=server,
        days=days_text,
        key=key,
        faults=faults,
        most_days=MOST_DAYS,
        preview=preview,
        moved=[]
        if preview is None
        else [(one["server"], move_stages(one, preview.stop)) for one in reports[:MOST_MOVED]],
        has_more=len(reports) > MOST_MOVED,
        left=quota_left(pauses, quota, visit.now),
        quota=quota,
        year=year_of(visit.now),
    )
