"""The HTTP server as clients meet it: slow ones, large ones, those that stop reading, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from litestar import Litestar, get, post
from litestar.params import JSONBody
from litestar.response import Stream

from streams.report.web.connections import MOST_HEADER_BYTES, BoundedProtocol
from streams.report.web.server import WebServer

PART = b"x" * (1 << 20)


@get("/quick")
async def quick() -> str:
    """Answer at once."""
    return "quick"


@get("/endless")
async def endless() -> Stream:
    """Answer without end."""

    async def parts() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)  # an export waits for its database here
            yield PART

    return Stream(parts())


@post("/taken")
async def taken(data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
    """Give back what came."""
    return data


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    return head + await reader.readexactly(length)


async def read_for_ever(reader: asyncio.StreamReader) -> None:
    while True:
        await reader.readexactly(1 << 20)


def served(work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """Run some work against a server."""

    async def run() -> None:
        server = WebServer(Litestar([quick, endless, taken], logging_config=None, openapi_config=None))
        await server.start("127.0.0.1", 0)
        try:
            async with asyncio.timeout(60):
                await work(server.port)
        finally:
            await server.stop()

    asyncio.run(run())


def test_requests_follow_one_another_on_a_connection() -> None:
    async def work(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await read_answer(reader)).endswith(b"quick")
        writer.write(b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        assert [(await read_answer(reader))[-5:] for _ in range(2)] == [b"quick"] * 2
        writer.close()

    served(work)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /qui",
        b"GET /quick HTTP/1.1\r\nHost: a\r\n",
        b"POST /taken HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{",
        b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\nGET /quick HT",
    ],
)
def test_a_client_that_sends_no_whole_request_is_not_waited_for(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "request_seconds", 0.2)

    async def work(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        if sent.count(b"GET") == 2:
            assert (await read_answer(reader)).endswith(b"quick")
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    served(work)


def test_headers_without_end_are_refused() -> None:
    async def work(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /quick HTTP/1.1\r\n")
        answer = asyncio.create_task(reader.read())
        sent = 0
        while not answer.done() and sent < 100 * MOST_HEADER_BYTES:
            writer.write(b"X-A: " + b"a" * 1000 + b"\r\n")
            sent += 1007
            await asyncio.sleep(0)
        try:
            said = await answer
        except ConnectionResetError:
            said = b"HTTP/1.1 431"
        assert said.startswith(b"HTTP/1.1 431")
        assert sent < 100 * MOST_HEADER_BYTES
        writer.close()

    served(work)


def test_a_client_that_takes_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "write_seconds", 0.3)

    async def work(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(1)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await read_for_ever(reader)
        writer.close()
        # Others are served meanwhile, and after it.
        other, asking = await asyncio.open_connection("127.0.0.1", port)
        asking.write(b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await read_answer(other)).endswith(b"quick")
        asking.close()

    served(work)


def test_an_address_that_cannot_be_had_is_said() -> None:
    async def work(port: int) -> None:
        with pytest.raises(OSError, match="in use"):
            await WebServer(Litestar([], openapi_config=None)).start("127.0.0.1", port)

    served(work)
