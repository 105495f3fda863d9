"""The pages that links in messages lead to: whoever has the link may answer, without signing in.

Programs that look through mail follow links, so opening one changes nothing. Whatever is wrong with a link, the answer
is the same: nobody learns from it whose it was.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from sqlalchemy import Connection
from sqlalchemy.exc import DataError

from streams.database.database import ALL_TENANTS
from streams.notices.destinations import confirm_by_token, unsubscribe_by_token
from streams.notices.masking import masked_address
from streams.notices.model import OPERATORS, Destination, DestinationState
from streams.notices.paths import CONFIRM, TOKEN, UNSUBSCRIBE
from streams.notices.questions import asked_by_token, told_by_token
from streams.notices.tokens import TokenError, whose_token
from streams.report.access.failures import MOST_FAILURES, WINDOW_SECONDS, FailureLimit
from streams.report.access.site import OPEN
from streams.report.page.rendering import render
from streams.report.page.visits import PagePorts, answer_html, language_for

Asked = Request[Any, Any, Any]


@get(CONFIRM, include_in_schema=False, opt=OPEN)
async def show_confirmation(
    request: Asked, ports: NamedDependency[PagePorts], failures: NamedDependency[FailureLimit]
) -> Response[str]:
    """The question whether somebody wants to be told."""
    token = _token_of(request)
    found = await _known(ports, token, lambda connection: asked_by_token(connection, token, ports.clock()))
    return _refused(request, ports, failures) if found is None else _answer(request, ports, "confirm", found)


@post(CONFIRM, include_in_schema=False, opt=OPEN, status_code=HTTPStatus.OK)
async def confirm_destination(
    request: Asked, ports: NamedDependency[PagePorts], failures: NamedDependency[FailureLimit]
) -> Response[str]:
    """Somebody wants to be told."""
    token, now = _token_of(request), ports.clock()

    def confirm(connection: Connection) -> Destination:
        asked_by_token(connection, token, now)
        return confirm_by_token(connection, token, now)

    found = await _known(ports, token, confirm, is_change=True)
    return _refused(request, ports, failures) if found is None else _answer(request, ports, "confirmed", found)


@get(UNSUBSCRIBE, include_in_schema=False, opt=OPEN)
async def show_unsubscription(
    request: Asked, ports: NamedDependency[PagePorts], failures: NamedDependency[FailureLimit]
) -> Response[str]:
    """The question whether somebody wants no more."""
    token = _token_of(request)
    found = await _known(ports, token, lambda connection: told_by_token(connection, token))
    if found is None or found.state is DestinationState.REMOVED:
        return _refused(request, ports, failures)
    return _answer(request, ports, "unsubscribe", found)


@post(UNSUBSCRIBE, include_in_schema=False, opt=OPEN, status_code=HTTPStatus.OK)
async def unsubscribe_destination(
    request: Asked, ports: NamedDependency[PagePorts], failures: NamedDependency[FailureLimit]
) -> Response[str]:
    """Somebody wants no more (RFC 8058); a mail program that says so again is answered as the first time."""
    token, now = _token_of(request), ports.clock()

    def unsubscribe(connection: Connection) -> Destination:
        told_by_token(connection, token)
        return unsubscribe_by_token(connection, token, now)

    found = await _known(ports, token, unsubscribe, is_change=True)
    return _refused(request, ports, failures) if found is None else _answer(request, ports, "unsubscribed", found)


def _token_of(request: Asked) -> str:
    return str(request.query_params.get(TOKEN, ""))


async def _known(
    ports: PagePorts, token: str, question: Callable[[Connection], Destination], *, is_change: bool = False
) -> Destination | None:
    """Whom a link was sent to; None where it does not work. What is asked sees only the tenant that the token names."""
    ask = ports.ledger.change if is_change else ports.ledger.ask
    try:
        tenant = whose_token(token).tenant_id
        return await ask(ALL_TENANTS if tenant == OPERATORS else tenant, question)
    except (TokenError, DataError):  # what a forged token names may be no text of the database
        return None


def _answer(request: Asked, ports: PagePorts, step: str, destination: Destination) -> Response[str]:
    language = language_for(request)
    values = {
        "language": language,
        "step": step,
        # A contact of a connector is called by its address, which is not for everybody who has the link.
        "name": "" if destination.name == destination.address else destination.name,
        "address": masked_address(destination),
        "path": f"{request.scope['path']}?{urlencode({TOKEN: _token_of(request)})}",
    }
    return answer_html(request, language, render("link.html", values), HTTPStatus.OK, is_secure=ports.is_secure)


def _refused(request: Asked, ports: PagePorts, failures: FailureLimit) -> Response[str]:
    """What is answered to every link that does not work; an address that tries many is told to wait.

    A link that works always does: behind a proxy all have one address.
    """
    language = language_for(request)
    is_over = failures.count(request.client.host if request.client else "") > MOST_FAILURES
    status = HTTPStatus.TOO_MANY_REQUESTS if is_over else HTTPStatus.NOT_FOUND
    values = {"language": language, "step": "wait" if is_over else "void"}
    answer = answer_html(request, language, render("link.html", values), status, is_secure=ports.is_secure)
    if is_over:
        answer.headers["Retry-After"] = str(int(WINDOW_SECONDS))
    return answer
