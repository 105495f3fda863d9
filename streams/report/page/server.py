"""One server: what, since when, why, what comes when, what to install, what was."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from streams.domain.time import day_of
from streams.report.page.evidence import evidence_of
from streams.report.page.pausing import move_stages, preview_pause
from streams.report.page.timeline import timeline
from streams.report.page.visits import Visit
from streams.report.page.why import article_path, vulnerabilities, why
from streams.report.queries.pauses import pauses_of
from streams.report.queries.servers import show_server
from streams.report.web.problems import not_found
from streams.report.web.server_names import server_in_path

PREVIEW_DAYS: Final = 14
"""Of the pause whose dates a server's page shows."""


@get("/servers/{server:path}", include_in_schema=False)
async def show_one_server(visit: NamedDependency[Visit], server: FromPath[str]) -> Response[str]:
    """A server's page; that of another tenant's server is the same as of none."""
    tenant, name = visit.one_tenant(), server_in_path(visit.request)
    found, pauses = await visit.ports.read_model.ask(
        tenant, lambda connection: (show_server(connection, tenant, name), pauses_of(connection, tenant))
    )
    if found is None:
        raise not_found("server", name)
    report, now = found.report, visit.now
    quota = visit.ports.coming.quota_days(now)
    preview = preview_pause(pauses, name, PREVIEW_DAYS, now, quota)
    remedy = report.get("remedy") or {}
    return visit.page(
        "server.html",
        server=found.summary,
        report=report,
        verdict=found.verdict,
        why=why(visit.language, report),
        steps=timeline(report, found.intervals, now),
        evidence=evidence_of(report.get("evidence"), report.get("build")),
        other_evidence=evidence_of(report.get("accepted_evidence"), report.get("accepted_build")),
        support_ends_on=_support_end(report),
        vulnerabilities=vulnerabilities(report, visit.ports.catalogue),
        article=article_path(remedy.get("kb")),
        preview=preview,
        moved=move_stages(report, preview.stop),
        preview_days=PREVIEW_DAYS,
        intervals=found.intervals,
    )


def _support_end(report: Mapping[str, Any]) -> date | None:
    """When support of the server's product ends; a record has the days since 1970."""
    days = report.get("support_ends_on")
    return None if days is None else day_of(days)
