"""Heads of requests that the parser has taken: a client's are always the same, and parsing one costs like deciding.

Only what the parser itself understood is known here, byte by byte, so that both never read one request in two ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aiohttp import HttpVersion11

MAX_HEADS: Final = 512
MAX_HEAD_BYTES: Final = 2048
_END: Final = b"\r\n\r\n"
_BEGIN: Final = b"POST "


class Head(NamedTuple):
    """What a head says; `size` is its own, `length` that of the body behind it."""

    method: str
    path: str
    headers: Mapping[str, str]
    size: int
    length: int


class KnownHeads:
    """The heads that came last; all are forgotten where there are too many."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}

    def find(self, data: bytes) -> Head | None:
        """The head of a request that is exactly `data`; None where it is not known, or `data` is less or more."""
        end = data.find(_END, 0, MAX_HEAD_BYTES)
        if end < 0:
            return None
        head = self._heads.get(data[: end + len(_END)])
        return head if head is not None and head.size + head.length == len(data) else None

    def learn(self, data: bytes, message: Any) -> int:
        """Remember the head of a request that the parser found at the beginning of `data`, a `RawRequestMessage`.

        It is kept where its connection is one of HTTP/1.1 that stays, and nothing must be said before the body comes.
        Returns the bytes of the request, body included; 0 where its end cannot be told, as that of a body in chunks.
        """
        # It has no type here: aiohttp's class in C is another one than annotations tell, and compiled code checks that.
        headers = message.headers
        length = headers.get("Content-Length", "")
        end = data.find(_END, 0, MAX_HEAD_BYTES)
        head = data[: end + len(_END)]
        if end < 0 or not head.startswith(_BEGIN) or head.count(b"\n") != head.count(b"\r\n"):
            return 0
        if message.chunked or not (length.isascii() and length.isdigit()):
            return 0
        is_usual = message.version == HttpVersion11 and not (message.should_close or message.upgrade)
        if is_usual and "Expect" not in headers:
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            self._heads[head] = Head(message.method, message.path, headers, len(head), int(length))
        return len(head) + int(length)
