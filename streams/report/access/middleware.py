"""Finds out who calls: a bearer token, else the session of a browser. Nobody else gets past it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

from litestar import Request
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.exceptions import (
    NotAuthorizedException,
    PermissionDeniedException,
    ServiceUnavailableException,
    TooManyRequestsException,
)
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from streams.log_events import log_event
from streams.report.access.callers import Caller
from streams.report.access.claims import NoAccessError
from streams.report.access.csrf import SAFE_METHODS, check_own_request
from streams.report.access.failures import MOST_FAILURES, WINDOW_SECONDS, FailureLimit
from streams.report.access.fetched import RETRY_SECONDS, FetchError
from streams.report.access.sessions import Session, Sessions
from streams.report.access.site import HOME, IS_OPEN, SESSION, SIGN_IN, AnyRequest, Site, local_path
from streams.report.access.tokens import TokenError

log = logging.getLogger(__name__)

API: Final = "/v1"
"""Beneath it are programs, which are told 401 and sent nowhere."""
MOST_LOGGED: Final = 5
"""Failures of an address in a window that are logged."""
_REALM: Final = 'Bearer realm="tes-report"'

TokenCaller = Callable[[str], Awaitable[Caller]]
"""Who calls, by a token; raises `TokenError`, `NoAccessError`, `FetchError`."""


class Identification:
    """Says who sends a request, or refuses it."""

    def __init__(
        self, token_caller: TokenCaller | None, sessions: Sessions | None, site: Site, clock: Callable[[], float]
    ) -> None:
        """Take what can be found out.

        Args:
            token_caller: None where no provider is set.
            sessions: None where no browser can sign in.
            site: where browsers find it.
            clock: seconds that never go back.
        """
        self._token_caller, self._sessions, self._site = token_caller, sessions, site
        self._failures = FailureLimit(clock)

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Middleware around an application: sets `user` to the `Caller`, `auth` to the `Session` or None."""

        async def identified(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["route_handler"].opt.get(IS_OPEN):
                await app(scope, receive, send)
                return
            if scope["type"] != ScopeType.HTTP:
                raise NotAuthorizedException("only requests of HTTP are answered")
            request: AnyRequest = Request(scope, receive, send)
            if (token := _bearer_of(request)) is not None:
                session, caller = None, await self._check_token(request, token)
            else:
                session = await self._session_of(request)
                if session is None:
                    await self._refuse_stranger(request, scope, receive, send)
                    return
                caller = session.caller
            scope["user"], scope["auth"] = caller, session
            await app(scope, receive, self._private(request, session, send))

        return identified

    async def _check_token(self, request: AnyRequest, token: str) -> Caller:
        if self._token_caller is None:
            raise self._refusal(request, "bearer tokens are not accepted here")
        try:
            return await self._token_caller(token)
        except TokenError as error:
            raise self._refusal(request, f"the bearer token is refused: {error}") from None
        except NoAccessError as error:
            raise PermissionDeniedException(
                str(error), headers={"WWW-Authenticate": f'{_REALM}, error="insufficient_scope"'}
            ) from None
        except FetchError:
            raise ServiceUnavailableException(
                "the sign-in provider does not answer, so that no token can be checked now",
                headers={"Retry-After": str(int(RETRY_SECONDS))},
            ) from None

    async def _session_of(self, request: AnyRequest) -> Session | None:
        """The session of a browser; a request that changes something has to come from our own page."""
        if self._sessions is None:
            return None
        origin = self._site.origin_of(request)
        session = self._sessions.open(self._site.cookie_of(request, SESSION))
        if session is not None and request.method not in SAFE_METHODS:
            await check_own_request(request, origin, session.csrf_token)
        return session

    async def _refuse_stranger(self, request: AnyRequest, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a person to sign-in; tell a program that it must bring a token."""
        path = scope["path"]  # never an address made of the host, which may be none
        if self._sessions is None or path == API or path.startswith(f"{API}/"):
            raise NotAuthorizedException("a bearer token is needed", headers={"WWW-Authenticate": _REALM})
        headers = {"Cache-Control": "no-store"}
        if request.headers.get("hx-request") == "true":
            # A part of a page cannot follow to the provider; the whole page can, and comes back to where it was.
            headers |= {"WWW-Authenticate": _REALM, "HX-Redirect": _sign_in_for(_shown_page(request))}
            raise NotAuthorizedException("the session has ended: sign in again", headers=headers)
        if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
            raise NotAuthorizedException(
                "the session has ended: sign in again", headers=headers | {"WWW-Authenticate": _REALM}
            )
        asked = f"{quote(path, safe='/:')}?{scope['query_string'].decode('latin-1')}"
        answer = ASGIResponse(
            status_code=HTTPStatus.SEE_OTHER, headers=headers | {"Location": _sign_in_for(asked)}, body=b""
        )
        await answer(scope, receive, send)

    def _refusal(self, request: AnyRequest, why: str) -> NotAuthorizedException | TooManyRequestsException:
        """The error for a failure, counted by the address that sent it; nothing of a token is in it or in the log."""
        address = request.client.host if request.client else ""
        failures = self._failures.count(address)
        if failures <= MOST_LOGGED:
            log.warning("a call was refused: %s", why, extra=log_event("report_call_refused", address=address, why=why))
        if failures > MOST_FAILURES:
            return TooManyRequestsException(
                "too many failed attempts from this address", headers={"Retry-After": str(int(WINDOW_SECONDS))}
            )
        header = f'{_REALM}, error="invalid_token", error_description="{why}"'
        return NotAuthorizedException(why, headers={"WWW-Authenticate": header})

    def _private(self, request: AnyRequest, session: Session | None, send: Send) -> Send:
        """What one caller is shown is kept for nobody else; a session that goes on is kept by its browser."""
        renewed = self._sessions.renewed(session) if self._sessions is not None and session is not None else None

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                headers.setdefault("cache-control", "private, no-cache")
                if renewed is not None and self._sessions is not None:
                    cookie = self._site.cookie(SESSION, self._sessions.seal(renewed))
                    headers.add("set-cookie", cookie.to_header(header=""))
            await send(message)

        return sent


def _bearer_of(request: AnyRequest) -> str | None:
    """The token that a request brings; None where it brings none. Other schemes are those of proxies."""
    for value in request.headers.getall("authorization", []):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            return str(token.strip())
    return None


def _shown_page(request: AnyRequest) -> str:
    """The path of the page that a part belongs to, as htmx says it."""
    try:
        shown = urlsplit(request.headers.get("hx-current-url", ""))
    except ValueError:
        return HOME
    return f"{shown.path}?{shown.query}"


def _sign_in_for(asked: str) -> str:
    path = local_path(asked.removesuffix("?"))
    return SIGN_IN if path == HOME else f"{SIGN_IN}?next={quote(path, safe='/')}"
