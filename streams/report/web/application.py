"""The application that serves API and page: one list of handlers, one way to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from litestar import Litestar, Request
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.types import ASGIApp, ControllerRouterHandler, Middleware, Receive, Scope, Send

from streams.report.access.site import IS_OPEN
from streams.report.web.headers import send_security_headers
from streams.report.web.problems import Problem, answer_problem
from streams.report.web.request_ids import name_answer
from streams.visible import visible

MOST_BODY_BYTES: Final = 64 << 10
"""Of a request; a command has a few hundred."""
MOST_REQUESTS_A_MINUTE: Final = 1_200
"""Of one subject. Who has said nothing is told nothing but how to sign in, and is not counted: behind a proxy all have
one address, so that one of them would keep all others from signing in."""

_NUL: Final = "\0"
_MOST_SHOWN_CHARS: Final = 80


def make_application(
    handlers: Sequence[ControllerRouterHandler],
    identify: Middleware,
    provided: Mapping[str, object],
    requests_a_minute: int = MOST_REQUESTS_A_MINUTE,
) -> Litestar:
    """The application.

    Args:
        handlers: the routers of API and page.
        identify: middleware that finds out who calls, a `Caller`, and refuses others.
        provided: what handlers ask for by the names of their parameters, such as `read_model`.
        requests_a_minute: how many a subject may send.
    """
    limit = RateLimitConfig(
        rate_limit=("minute", requests_a_minute), exclude_opt_key=IS_OPEN, identifier_for_request=_subject_of
    )
    return Litestar(
        handlers,
        request_class=_BoundedRequest,
        middleware=[_refuse_nul, identify, limit.middleware],
        dependencies={name: _provide(value) for name, value in provided.items()},
        exception_handlers={Exception: answer_problem},
        before_send=[name_answer, send_security_headers],
        request_max_body_size=MOST_BODY_BYTES,
        logging_config=None,
        openapi_config=None,
    )


class _BoundedRequest(Request[Any, Any, Any]):
    """A request whose body may be nested as deeply as it likes."""

    __slots__ = ()

    async def json(self) -> Any:
        """See Litestar.

        Raises:
            Problem: it is nested too deeply to be read.
        """
        try:
            return await super().json()
        except RecursionError:
            raise Problem(HTTPStatus.BAD_REQUEST, "body: is nested too deeply") from None


def _refuse_nul(app: ASGIApp) -> ASGIApp:
    """Middleware: refuses what has a NUL in path or query; no name has one, and not every database takes one."""

    async def refused(scope: Scope, receive: Receive, send: Send) -> None:
        if _NUL in scope["path"]:
            raise Problem(HTTPStatus.BAD_REQUEST, f"path: {_shown(scope['path'])}: must have no control characters")
        for name, value in ASGIConnection[Any, Any, Any, Any](scope).query_params.multi_items():
            if _NUL in name:
                raise Problem(HTTPStatus.BAD_REQUEST, f"{_shown(name)}: must be the name of a parameter, without NUL")
            if _NUL in value:
                field = visible(name[:_MOST_SHOWN_CHARS])
                raise Problem(HTTPStatus.BAD_REQUEST, f"{field}: {_shown(value)}: must have no control characters")
        await app(scope, receive, send)

    return refused


def _shown(text: str) -> str:
    return visible(repr(text[:_MOST_SHOWN_CHARS]))


def _provide(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)


def _subject_of(request: Request[Any, Any, Any]) -> str:
    """By whom requests are counted: who `identify` has found, never what the request itself says."""
    return str(request.user.subject)
