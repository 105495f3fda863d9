"""What a caller is told when a request fails: problem details (RFC 9457), with the field and the value.

A fault of ours is logged with the request's id, and the caller is told only this id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec
from msgspec import Struct
from sqlalchemy.exc import DataError, SQLAlchemyError

from streams.database.database import is_passing
from streams.log_events import log_event
from streams.report.web.request_ids import request_id_of

log = logging.getLogger(__name__)

PROBLEM: Final = "application/problem+json"
RETRY_SECONDS: Final = 5
"""After which a caller may ask a database again that did not answer."""
_MOST_CHARS: Final = 500
"""Of a value that is said again."""


class Problem(HTTPException):
    """A request that fails for a reason that its caller can understand."""

    def __init__(self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        """Say why in `detail`, and more for machines."""
        super().__init__(status_code=int(status), detail=detail, headers=headers, extra=more)


class ProblemDetails(Struct, frozen=True):
    """Why a request failed: `detail` names the field and the value; the log knows the request by `request_id`."""

    title: str
    status: int
    detail: str
    request_id: str


def _documented(description: str) -> ResponseSpec:
    return ResponseSpec(ProblemDetails, False, description, PROBLEM)


PROBLEMS: Final = {
    400: _documented("What is asked cannot be asked."),
    401: _documented("Nobody known calls."),
    403: _documented("The caller's role may not do this."),
    404: _documented("There is none of this name."),
    429: _documented("The caller has sent too many requests; Retry-After says when to go on."),
    503: _documented("Database or Kafka do not answer now."),
}
"""How every operation may fail."""
CONFLICT: Final = {409: _documented("It cannot be done as things are, or a tenant has as many as it may have.")}
"""How some fail beside."""


def not_found(what: str, name: str) -> Problem:
    """Nothing of this name; the same, word for word, whether another tenant has it or nobody."""
    return Problem(HTTPStatus.NOT_FOUND, f"{what}: {name[:_MOST_CHARS]!r}: there is none of this name")


@contextmanager
def checked_by_query() -> Iterator[None]:
    """What a query refuses of what it was given is the caller's fault.

    Raises:
        Problem: it was refused.
    """
    try:
        yield
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None


def answer_problem(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """What is answered where a request raised an error."""
    problem = problem_of(request, error)
    status = HTTPStatus(problem.status_code)
    body: dict[str, Any] = {"title": status.phrase, "status": problem.status_code, "detail": problem.detail}
    if isinstance(problem.extra, dict):
        body |= problem.extra
    body["request_id"] = request_id_of(request)
    headers = dict(problem.headers or {})
    if status is HTTPStatus.TOO_MANY_REQUESTS:
        headers.setdefault("Retry-After", headers.get("RateLimit-Reset", str(RETRY_SECONDS)))
    return Response(body, status_code=problem.status_code, headers=headers, media_type=PROBLEM)


def problem_of(request: Request[Any, Any, Any], error: Exception) -> HTTPException:
    """What a caller is told of an error; one of ours goes to the log."""
    if isinstance(error, ValidationException):
        return Problem(HTTPStatus.BAD_REQUEST, _faults(error))
    if isinstance(error, HTTPException):
        return error
    about: dict[str, Any] = {"request_id": request_id_of(request), "path": request.scope["path"]}
    about["error"] = type(error).__name__
    if isinstance(error, DataError):  # our statements are always the same, and only what the caller gave is not
        about["sqlstate"] = getattr(error.orig, "sqlstate", None)  # its words have the value in them
        extra = log_event("report_request_value_refused", **about)
        log.warning("the database refused a value of a request", extra=extra)
        return Problem(HTTPStatus.BAD_REQUEST, "the database refuses a value of the request")
    if isinstance(error, (SQLAlchemyError, OSError)) and is_passing(error):
        log.warning("a request found no database", extra=log_event("report_request_without_database", **about))
        headers = {"Retry-After": str(RETRY_SECONDS)}
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer now", headers)
    log.error("a request failed", exc_info=error, extra=log_event("report_request_failed", **about))
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the request failed here; the log has its request_id")


def _faults(error: ValidationException) -> str:
    """Each field that is wrong, and why."""
    if not isinstance(error.extra, list):
        return error.detail
    faults = [f"{one.get('key', 'body')}: {one.get('message', '')}" for one in error.extra if isinstance(one, dict)]
    return "; ".join(faults)[:_MOST_CHARS] or error.detail
