"""What an HTTP client sends: a stream of bytes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

from streams.edge.http.connection import Connection
from streams.edge.http.openapi import ANSWER
from streams.edge.http.server import HttpServer
from tests.support.door import Doorway, standing_verdict
from tests.support.http_door import HttpTold

BYTEWISE, UNMATCHED = 1, 2
"""Bits of the first byte of an input."""
HOST = "mx1.example.com"
_HEAD = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [A-Za-z ]+\r\n((?:[A-Za-z-]+: [!-~]+(?: [!-~]+)*\r\n)+)\r\n")
_LENGTH = re.compile(rb"Content-Length: ([0-9]+)\r\n")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def check(data: bytes) -> None:
    """Each request has its answer, in JSON, whatever pieces it comes in; nothing else happens to anybody."""
    options, stream = (data or b"\0")[0], data[1:]
    first = _talk(options, [stream])
    size = 1 if options & BYTEWISE else 7
    assert _talk(options, [stream[begin : begin + size] for begin in range(0, len(stream), size)]) == first


class _Loop:
    """A loop in which no time passes."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return 0.0

    def call_later(self, _seconds: float, _call: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.TimerHandle(0.0, _call, (), self)  # type: ignore[arg-type]

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        """A timer is left alone."""


class _Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written, self.is_closed = bytearray(), False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written += data

    def write_eof(self) -> None:
        self.is_closed = True

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        raise AssertionError("a connection is broken off")

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        """Nothing more would come."""

    def resume_reading(self) -> None:
        """More may come."""


def _talk(options: int, chunks: list[bytes]) -> tuple[list[tuple[int, Any]], bool]:
    """What is answered, without the chance in it, and whether the connection is closed."""
    doorway = Doorway()
    if options & UNMATCHED:
        doorway.connectors.connector = None
    doorway.verdicts.put(standing_verdict(HOST, smtp_template_block="550 5.7.230 100% \r\n250 forged"))
    told, loop, transport = HttpTold(), _Loop(), _Transport()
    connection = Connection(HttpServer(doorway.door, told), loop)  # type: ignore[arg-type]
    connection.connection_made(transport)  # type: ignore[arg-type]
    for chunk in chunks:
        connection.data_received(chunk)
        while loop.soon:
            loop.soon.pop(0)()
    answers = _answers(bytes(transport.written))
    assert (told.failures, doorway.telemetry.failures) == ([], [])
    assert told.statuses == [status for status, _ in answers if status != 200]
    decided = [content for _, content in answers if content is not None and content.get("event_id")]
    assert len(decided) == len(doorway.told)
    for content in decided:
        del content["event_id"]
    return answers, transport.is_closed


def _answers(written: bytes) -> list[tuple[int, Any]]:
    """Status and content of each; None where the answer is to a HEAD."""
    found: list[tuple[int, Any]] = []
    place = 0
    while place < len(written):
        if written.startswith(_CONTINUE, place):
            place += len(_CONTINUE)
            continue
        head = _HEAD.match(written, place)
        assert head is not None
        length = _LENGTH.search(head[2])
        assert length is not None
        status, place, content = int(head[1]), head.end(), None
        if not written.startswith(b"HTTP/1.1 ", place) and place < len(written):
            content, place = json.loads(written[place : place + int(length[1])]), place + int(length[1])
            if status != 200:
                assert content["status"] == status
                # It shows what came with it.
                content["detail"] = content["detail"].partition("must be HTTP/1.1")[0]
            elif "openapi" not in content:
                assert list(content) == list(ANSWER)
        found.append((status, content))
    return found
