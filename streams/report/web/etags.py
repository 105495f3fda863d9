"""An entity tag for each answer that is whole: whoever has it already is told so, and is sent nothing.

The tag is made of the answer itself, so that it is right whatever the answer depends on.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

_NOT_MODIFIED: Final = 304
_DROPPED: Final = ("content-length", "content-type")


def tag_answers(app: ASGIApp) -> ASGIApp:
    """Middleware: tags answers to GET that succeed and come in one piece."""

    async def tagged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] not in ("GET", "HEAD"):
            await app(scope, receive, send)
            return
        known = {value for name, value in scope["headers"] if name == b"if-none-match"}
        held: Any = None

        async def sent(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and message["status"] == 200:
                held = message
                return
            if held is not None and message["type"] == "http.response.body":
                start, held = held, None
                if not message.get("more_body"):
                    message = _tag(start, message, known)
                await send(start)
            await send(message)

        await app(scope, receive, sent)

    return tagged


def _tag(start: Any, body: Any, known: set[bytes]) -> Any:
    """Put the tag into an answer's beginning; returns its body, empty where it is known."""
    headers = MutableScopeHeaders.from_message(start)
    if "etag" not in headers:
        headers["etag"] = f'"{hashlib.blake2b(body["body"], digest_size=12).hexdigest()}"'
    tag = headers["etag"].encode()
    if not any(tag == one.strip().removeprefix(b"W/") for value in known for one in value.split(b",")):
        return body
    start["status"] = _NOT_MODIFIED
    for name in _DROPPED:
        headers.pop(name, None)
    return {**body, "body": b""}
