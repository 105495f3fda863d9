"""What the HTTP door answers with, in the bytes of HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple

JSON, PROBLEM = "application/json", "application/problem+json"
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: tes\r\nContent-Length: %d\r\n\r\n"


class Reply(NamedTuple):
    """What is answered; `allow` names the method that would have been right."""

    content: bytes
    status: HTTPStatus = HTTPStatus.OK
    kind: str = JSON
    allow: str | None = None


def usual_bytes(content: bytes) -> bytes:
    """Head and content of nearly every answer: JSON, on a connection of HTTP/1.1 that stays."""
    return _HEAD % len(content) + content


def head_of(reply: Reply, *, is_last: bool, is_first_version: bool) -> bytes:
    """The head of any answer; `is_first_version`: of HTTP/1.0."""
    lines = [
        f"HTTP/1.1 {reply.status.value} {reply.status.phrase}",
        f"Content-Type: {reply.kind}",
        "Server: tes",
        f"Content-Length: {len(reply.content)}",
    ]
    if reply.allow is not None:
        lines.append(f"Allow: {reply.allow}")
    if is_last:
        lines.append("Connection: close")
    elif is_first_version:
        lines.append("Connection: keep-alive")
    return "\r\n".join([*lines, "", ""]).encode()
