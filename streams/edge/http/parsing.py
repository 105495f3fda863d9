"""The parser of requests, which is aiohttp's."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp.http import HttpRequestParser

_SHOWN_CHARS: Final = 200


class _BodyFlow:
    """What the parser's bodies are told to hold on to: nothing, each is emptied as it comes and is bounded here."""

    def pause_reading(self) -> None:
        """There is much."""

    def resume_reading(self, *, resume_parser: bool = True) -> None:
        """There is little."""


_FLOW: Final[Any] = _BodyFlow()


def new_parser(loop: asyncio.AbstractEventLoop, most_body_bytes: int) -> HttpRequestParser:
    """The parser of one connection; it stops behind each request."""
    return HttpRequestParser(_FLOW, loop, most_body_bytes, auto_decompress=False, max_msg_queue_size=1)


def one_line(text: str) -> str:
    """What the parser says is wrong, as one line that can be shown."""
    # Below what is wrong it may point at the place.
    return " ".join(text.rstrip(" ^").split())[:_SHOWN_CHARS]
