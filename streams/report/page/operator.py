"""The operator's view over all tenants, and what only an operator may ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from sqlalchemy import Connection

from streams.database.database import ALL_TENANTS
from streams.domain.policy.policy import Mode
from streams.domain.tenant.commands import CommandKind
from streams.report.access.callers import require_operator
from streams.report.page.asking import (
    ShownOutcome,
    ask_engine,
    not_taken,
    outcome_shown,
    read_form,
    say_outcome,
    see_other,
    until_in_tables,
)
from streams.report.page.forms import OPERATOR_KINDS, Faults, new_key, read_command
from streams.report.page.visits import PageRequest, Visit
from streams.report.queries.messages import PUBLICATIONS, Audited, audits
from streams.report.queries.servers import ServerFilter, count_by_status, list_servers, show_server
from streams.report.queries.waivers import waived_servers
from streams.report.web.coming import AnnouncedPolicy
from streams.report.web.commands import CommandsUnavailableError, OutcomeKind
from streams.report.web.problems import Problem, checked_by_query, not_found
from streams.texts.languages import Language
from streams.texts.status_words import count_by_words
from streams.visible import visible

MOST_FOUND: Final = 20
MOST_PUBLICATIONS: Final = 10
CONFIRMATION: Final = "RELEASE"
"""What an operator types to release everybody."""


@get("/operator", include_in_schema=False, guards=[require_operator])
async def show_operator(
    visit: NamedDependency[Visit], q: FromQuery[str] = "", released: FromQuery[str | None] = None
) -> Response[str]:
    """Totals, search, exceptions and overrides, policies, dead letters, and the release of all.

    `released` is the version, as `ID/VERSION`, that the caller's release published.
    """
    return await _operator_page(visit, q, released=released)


async def _operator_page(
    visit: Visit,
    q: str,
    *,
    released: str | None = None,
    outcome: ShownOutcome | None = None,
    fault: str | None = None,
) -> Response[str]:
    model, now = visit.ports.read_model, visit.now
    announced = visit.ports.coming.announced(now)
    promise = _promise(visit.language, announced)

    def ask(connection: Connection) -> Any:
        key = model.cursor_key(connection)
        found = []
        if q:
            found = list_servers(connection, ALL_TENANTS, key=key, wanted=ServerFilter(search=q), limit=MOST_FOUND).rows
        published = _publications(visit, connection)
        return count_by_status(connection, ALL_TENANTS), found, waived_servers(connection, ALL_TENANTS, now), published

    with checked_by_query():
        counts, found, waived, published = await model.ask(ALL_TENANTS, ask)
    return visit.page(
        "operator.html",
        HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY,
        counts=count_by_words(visit.language, counts),
        found=found,
        q=q,
        waived=waived,
        published=published,
        announced=announced,
        promise=promise,
        dead_letters=await visit.ports.operating.dead_letters(),
        confirmation=CONFIRMATION,
        outcome=_release_shown(visit, released, published, promise) if released else outcome,
        fault=fault,
    )


def _publications(visit: Visit, connection: Connection) -> list[Audited]:
    key = visit.ports.read_model.cursor_key(connection)
    return audits(connection, ALL_TENANTS, key=key, kinds=PUBLICATIONS, limit=MOST_PUBLICATIONS).rows


def _promise(language: Language, announced: Sequence[AnnouncedPolicy]) -> str:
    """How long a release holds: an announced policy that enforces ends it."""
    enforcing = [one for one in announced if one.mode is not None and one.mode.lower() == Mode.ENFORCE]
    if not enforcing:
        return language.say("No mail of any tenant is delayed or blocked from then on.")
    first = min(enforcing, key=lambda one: one.effective_at)
    return language.say(
        "No mail of any tenant is delayed or blocked from then until %(date)s, when %(name)s begins.",
        date=language.moment(first.effective_at),
        name=visible(first.name),
    )


def _release_shown(visit: Visit, name: str, published: Sequence[Audited], promise: str) -> ShownOutcome | None:
    """What became of a release, by its audit record: an address alone says nothing.

    None where it is another's, is no release, or another policy was published since.
    """
    records = [one.record for one in published if one.record["kind"] == CommandKind.POLICY_PUBLISHED]
    place = next((place for place, record in enumerate(records) if _name_and_mode(record)[0] == name), None)
    if place is None:
        said = visit.language.say(
            "The list of publications does not show this release. Load this page again in a moment."
        )
        return ShownOutcome(said, "reported", None)
    record = records[place]
    is_release = record["issued_by"] == visit.caller.name and _name_and_mode(record)[1] == Mode.REPORT
    if place or not is_release:
        return None
    return ShownOutcome(f"{visit.language.say('Accepted.')} {promise}", "good", record.get("reason"))


def _name_and_mode(record: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The version, as `ID/VERSION`, that the audit record of a policy is about, and its mode."""
    after = record.get("after")
    if not after:
        return None, None
    policy = orjson.loads(after)
    return f"{policy['policy_id']}/{policy['version']}", str(policy["mode"]).lower()


@post("/operator/release", include_in_schema=False, guards=[require_operator], status_code=HTTPStatus.OK)
async def release_all(visit: NamedDependency[Visit], request: PageRequest) -> Response[Any]:
    """Release every server of every tenant, where it was confirmed by typing."""
    form = await read_form(request)
    reason = form.get("reason", "").strip()
    if form.get("confirmation") != CONFIRMATION or not reason:
        fault = visit.language.say("Type %(word)s and give a reason.", word=CONFIRMATION)
        return await _operator_page(visit, "", fault=fault)
    try:
        outcome = await visit.ports.operating.release_all(visit.caller, reason)
    except CommandsUnavailableError:
        raise not_taken() from None
    if outcome.kind is OutcomeKind.REFUSED:
        return await _operator_page(visit, "", outcome=say_outcome(visit, outcome))
    name = outcome.command_id

    def has_it(connection: Connection) -> bool:
        return any(_name_and_mode(one.record)[0] == name for one in _publications(visit, connection))

    await until_in_tables(visit, ALL_TENANTS, has_it)
    return see_other(visit.path("/operator", released=name))


@get("/operator/server", include_in_schema=False, guards=[require_operator])
async def show_operator_form(
    visit: NamedDependency[Visit], server: FromQuery[str], done: FromQuery[str | None] = None
) -> Response[str]:
    """The forms for an exception and an override of one server."""
    return await _forms_page(visit, server, new_key(), {}, {}, done)


@post("/operator/server", include_in_schema=False, guards=[require_operator], status_code=HTTPStatus.OK)
async def ask_for_server(visit: NamedDependency[Visit], request: PageRequest) -> Response[Any]:
    """Grant or revoke an exception, or override a build; then show what became of it."""
    form = await read_form(request)
    kind = next((one for one in OPERATOR_KINDS if one == form.get("kind")), None)
    if kind is None:
        raise Problem(HTTPStatus.BAD_REQUEST, f"kind: {form.get('kind', '')[:80]!r:.100}: must be one of the form")
    server = form.get("server", "")
    command = read_command(visit.language, form, kind, visit.now)
    if isinstance(command, Faults):
        return await _forms_page(visit, server, form["key"], command.by_field, form, None)
    return await ask_engine(visit, command, "/operator/server", server=server)


async def _forms_page(
    visit: Visit, server: str, key: str, faults: Mapping[str, str], form: Mapping[str, str], done: str | None
) -> Response[str]:
    tenant = visit.one_tenant()
    found = await visit.ports.read_model.ask(tenant, lambda connection: show_server(connection, tenant, server))
    if found is None:
        raise not_found("server", server)
    return visit.page(
        "operator_form.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if faults else HTTPStatus.OK,
        server=found.summary,
        key=key,
        faults=faults,
        form=form,
        outcome=await outcome_shown(visit, done),
    )
