"""The report: the answer, the dates to come, the charts, the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from sqlalchemy import Connection

from streams.database.database import is_all_tenants
from streams.domain.outputs.server_report import ServerStatus
from streams.domain.policy.ladder import Action
from streams.domain.time import DAY_MS
from streams.report.model.statuses import NEEDS_ACTION
from streams.report.page.answer import MOST_NAMES, Affected, Situation, answer
from streams.report.page.charts import connections_chart, servers_chart
from streams.report.page.next_dates import MOST, next_dates
from streams.report.page.outlook import outlook
from streams.report.page.pausing import tenant_paused_until
from streams.report.page.visits import Visit
from streams.report.queries.episodes import IN_EPISODE, Ahead, next_block
from streams.report.queries.history import Day, history
from streams.report.queries.pauses import Pauses, pauses_of, quota_left
from streams.report.queries.rows import Page, ServerSummary
from streams.report.queries.servers import ServerFilter, Sort, count_by_status, list_servers, mixed_by_action
from streams.report.web.problems import checked_by_query
from streams.texts.languages import Language

HISTORY_DAYS: Final = 90
MOST_ROWS: Final = 30
"""Of a page of the table: twice what the first screen shows."""
FILTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "all": (),
    "action": NEEDS_ACTION,
    "paused": (ServerStatus.PAUSED, ServerStatus.EXEMPT),
    "mixed": (ServerStatus.MIXED,),
    "compliant": (ServerStatus.COMPLIANT, ServerStatus.RESOLVED),
    "gone": (ServerStatus.VANISHED,),
}


class Overview(NamedTuple):
    """What the tables say for the report."""

    counts: dict[str, int]
    days: list[Day]
    ahead: list[Ahead]
    soonest: list[ServerSummary]
    blocked: Affected
    delayed: Affected
    unseen_since: int | None
    pauses: Pauses
    page: Page[ServerSummary]


class FilterLink(NamedTuple):
    """A filter of the table: its name, word and address, how many servers it has, and whether it is the one shown."""

    name: str
    word: str
    path: str
    n: int
    is_shown: bool


@get("/", include_in_schema=False)
async def show_report(
    visit: NamedDependency[Visit],
    show: FromQuery[str] = "all",
    q: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
) -> Response[Any]:
    """The report of a tenant; an operator that names none is sent to its own page."""
    if is_all_tenants(visit.tenant):
        return Response(None, status_code=303, headers={"Location": "/operator"})
    chosen = show if show in FILTERS else "all"
    with checked_by_query():
        found = await visit.ports.read_model.ask(
            visit.tenant, lambda connection: _ask(visit, connection, FILTERS[chosen], q, cursor)
        )
    language, now = visit.language, visit.now
    quota = quota_left(found.pauses, visit.ports.coming.quota_days(now), now)
    return visit.page(
        "report.html",
        answer=answer(language, _situation(visit, found, quota)),
        dates=next_dates(language, found.soonest, now),
        charts=[
            servers_chart(language, found.days, outlook(found.days[-1], found.ahead)),
            connections_chart(language, found.days),
        ],
        rows=found.page.rows,
        filters=_filters(visit, found.counts, chosen, q),
        show=chosen,
        q=q,
        next_path=found.page.cursor and visit.path("/", show=chosen, q=q, cursor=found.page.cursor),
        is_first=cursor is None,
        export=export_path(visit, FILTERS[chosen], q),
    )


def export_path(visit: Visit, statuses: Sequence[str], q: str) -> str:
    """Where the API has the servers that a table shows as CSV."""
    asked = [("status", status) for status in statuses]
    if q:
        asked.append(("search", q))
    if visit.is_operator and not is_all_tenants(visit.tenant):
        asked.append(("tenant", visit.tenant))
    return f"/v1/export/servers.csv{'?' if asked else ''}{urlencode(asked)}"


def _ask(visit: Visit, connection: Connection, statuses: tuple[str, ...], q: str, cursor: str | None) -> Overview:
    tenant, key = visit.tenant, visit.ports.read_model.cursor_key(connection)
    wanted = ServerFilter(frozenset(statuses), q)
    page = list_servers(connection, tenant, key=key, wanted=wanted, limit=MOST_ROWS, cursor=cursor)
    counts = count_by_status(connection, tenant)

    def first(status: str, most: int, sort: Sort = Sort.URGENCY) -> list[ServerSummary]:
        if not counts.get(status):
            return []
        only = ServerFilter(frozenset((status,)))
        return list_servers(connection, tenant, key=key, wanted=only, sort=sort, limit=most).rows

    mixed = mixed_by_action(connection, tenant, MOST_NAMES) if counts.get(ServerStatus.MIXED) else {}

    soonest = {status: first(status, max(MOST, MOST_NAMES)) for status in IN_EPISODE}

    def affected(status: ServerStatus, action: Action) -> Affected:
        others, its_names = mixed.get(action, (0, []))
        names = [*(row.server for row in soonest[status]), *its_names]
        return Affected(counts.get(status, 0) + others, tuple(names[:MOST_NAMES]))

    unseen = first(ServerStatus.VANISHED, 1, Sort.LAST_SEEN)
    today = visit.now // DAY_MS
    return Overview(
        counts,
        history(connection, tenant, today - HISTORY_DAYS + 1, today),
        visit.ports.ahead.of(connection, tenant, sum(counts.values())),
        [row for rows in soonest.values() for row in rows],
        affected(ServerStatus.BLOCKED, Action.BLOCK),
        affected(ServerStatus.THROTTLED, Action.THROTTLE),
        unseen[0].last_seen_at if unseen else None,
        pauses_of(connection, tenant),
        page,
    )


def _situation(visit: Visit, found: Overview, quota: int) -> Situation:
    return Situation(
        found.counts,
        found.blocked,
        found.delayed,
        next_block(found.ahead, visit.now),
        found.unseen_since,
        tenant_paused_until(found.pauses, visit.now),
        quota,
        visit.now,
    )


def _filters(visit: Visit, counts: Mapping[str, int], chosen: str, q: str) -> list[FilterLink]:
    links = []
    for name, statuses in FILTERS.items():
        n = sum(counts.values()) if not statuses else sum(counts.get(status, 0) for status in statuses)
        path = visit.path("/", show=None if name == "all" else name, q=q)
        links.append(FilterLink(name, _filter_word(visit.language, name), path, n, name == chosen))
    return links


def _filter_word(language: Language, name: str) -> str:
    words = {
        "all": language.say("all"),
        "action": language.say("needs action"),
        "paused": language.say("paused, exempt"),
        "mixed": language.say("several machines"),
        "compliant": language.say("up to date"),
        "gone": language.say("not seen"),
    }
    return words[name]
