"""An id for each request, in its answer and in the log, so that a caller and the log speak of the same one."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

from litestar import Request
from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

HEADER: Final = "x-request-id"
_STATE: Final = "request_id"
_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def request_id_of(request: Request[Any, Any, Any]) -> str:
    """The id of a request: that which its caller gave, if it is one, or a new one."""
    return _id_of(request.scope)


async def name_answer(message: Message, scope: Scope) -> None:
    """Put the request's id into its answer; before anything is sent, also where no route was found."""
    if message["type"] == "http.response.start":
        MutableScopeHeaders.from_message(message)[HEADER] = _id_of(scope)


def _id_of(scope: Any) -> str:
    state = scope.setdefault("state", {})
    if _STATE not in state:
        given = next((value for name, value in scope.get("headers", ()) if name == HEADER.encode()), b"")
        state[_STATE] = given.decode() if _GIVEN.fullmatch(given) else secrets.token_hex(8)
    return str(state[_STATE])
