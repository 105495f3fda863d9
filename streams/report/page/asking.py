"""Asks the engine for what a form wants, and shows what became of it: post, redirect, get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from litestar import Response
from sqlalchemy import Connection

from streams.report.page.visits import PageRequest, Visit
from streams.report.queries.messages import outcome_of
from streams.report.web.commands import CommandsUnavailableError, Outcome, OutcomeKind, outcome_told
from streams.report.web.problems import RETRY_SECONDS, Problem, checked_by_query

_LOOKS, _LOOK_SECONDS = 50, 0.1


class ShownOutcome(NamedTuple):
    """What became of a command: its sentence, the role of its colour, and the engine's reason, which may be None."""

    sentence: str
    role: str
    reason: str | None


async def read_form(request: PageRequest) -> Mapping[str, str]:
    """The fields of a form; whether it is one of this session was checked when its caller was."""
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


async def ask_engine(visit: Visit, command: dict[str, Any], back: str, **query: str) -> Response[Any]:
    """Submit a command and send its caller to the page that shows what became of it.

    The engine's answer is here before the tables have it, so these are waited for: the page shows what they have.

    Raises:
        Problem: it is no command, or commands are not taken now.
    """
    tenant = visit.one_tenant()
    with checked_by_query():
        try:
            outcome = await visit.ports.commands.submit(visit.caller, tenant, command)
        except CommandsUnavailableError:
            raise not_taken() from None
    if outcome.kind is not OutcomeKind.PENDING:
        await until_in_tables(
            visit, tenant, lambda connection: outcome_of(connection, tenant, outcome.command_id) is not None
        )
    return see_other(visit.path(back, done=command["command_id"], **query))


async def until_in_tables(visit: Visit, tenant: str, has_it: Callable[[Connection], bool]) -> None:
    """Wait for a while until the tables of a tenant have something."""
    for _ in range(_LOOKS):
        if await visit.ports.read_model.ask(tenant, has_it):
            return
        await asyncio.sleep(_LOOK_SECONDS)


def not_taken() -> Problem:
    """Commands cannot be given now."""
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "commands are not taken now; send the form again", headers)


def see_other(path: str) -> Response[Any]:
    """Go to another page; reloading it sends no form."""
    return Response(None, status_code=HTTPStatus.SEE_OTHER, headers={"Location": path})


async def outcome_shown(visit: Visit, command_id: str | None) -> ShownOutcome | None:
    """What became of a command, by its audit record; None where no command is asked about."""
    if not command_id:
        return None
    tenant = visit.one_tenant()
    found = await visit.ports.read_model.ask(tenant, lambda connection: outcome_of(connection, tenant, command_id))
    if found is None:
        return say_outcome(visit, Outcome(command_id, OutcomeKind.PENDING))
    return say_outcome(visit, outcome_told(command_id, found.record))


def say_outcome(visit: Visit, outcome: Outcome) -> ShownOutcome:
    """An outcome in the reader's language."""
    language = visit.language
    match outcome.kind:
        case OutcomeKind.ACCEPTED if outcome.quota_left_days is not None:
            n = outcome.quota_left_days
            said = language.say_many("Accepted; %(n)s day of pause left.", "Accepted; %(n)s days of pause left.", n)
            return ShownOutcome(said, "good", outcome.reason)
        case OutcomeKind.ACCEPTED:
            return ShownOutcome(language.say("Accepted."), "good", outcome.reason)
        case OutcomeKind.REFUSED:
            return ShownOutcome(language.say("Refused; nothing has changed."), "blocked", outcome.reason)
        case _:
            said = language.say("The command was sent; its outcome is not known yet. Load this page again in a moment.")
            return ShownOutcome(said, "reported", None)
