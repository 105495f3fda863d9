"""Receivers of webhooks and a mail relay in one process, that write down which message came and when.

Each destination has an address of its own in 127.0.0.0/8, so that each has a connection of its own as on the Internet.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path
from typing import Final, TextIO, cast

import uvloop
from aiohttp import web

from streams.clock import wall_clock_ms

SLOW, HANGING = "/slow", "/hanging"
SLOW_SECONDS: Final = 3.0
DEAD_DOMAIN: Final = "dead.example"
"""The relay takes no mail for it for now."""
FLUSH_SECONDS: Final = 0.1
_MESSAGE_ID: Final = re.compile(rb"^Message-ID:\s*<([^@>]+)@", re.MULTILINE | re.IGNORECASE)
_HELLO: Final = b"250-relay.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n"


class Book:
    """A line for each message that came: its id and when, UTC milliseconds."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, message_id: str) -> None:
        """Note one that came now."""
        self._file.write(f"{message_id} {wall_clock_ms()}\n")

    def flush(self) -> None:
        """Have others see it."""
        self._file.flush()


class Relay(asyncio.Protocol):
    """As much of SMTP as a relay that takes everything needs."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._transport: asyncio.WriteTransport
        self._buffer, self._is_data = b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        # Those of uvloop are none of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(b"220 relay.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self._buffer += data
        while True:
            end = b"\r\n.\r\n" if self._is_data else b"\r\n"
            part, found, rest = self._buffer.partition(end)
            if not found:
                return
            self._buffer = rest
            if self._is_data:
                self._is_data = False
                message_id = _MESSAGE_ID.search(part)
                assert message_id is not None
                self._book.write(message_id[1].decode())
                self._transport.write(b"250 2.0.0 taken\r\n")
            else:
                self._answer(part)

    def _answer(self, line: bytes) -> None:
        verb = line[:4].upper()
        if verb == b"EHLO":
            self._transport.write(_HELLO)
        elif verb == b"RCPT" and DEAD_DOMAIN.encode() in line:
            self._transport.write(b"451 4.4.1 the host of the recipient does not answer\r\n")
        elif verb == b"DATA":
            self._is_data = True
            self._transport.write(b"354 go on\r\n")
        elif verb == b"QUIT":
            self._transport.write(b"221 2.0.0 bye\r\n")
            self._transport.close()
        else:
            self._transport.write(b"250 2.0.0 ok\r\n")


async def receive(book: Book) -> None:
    """Listen, print the ports of webhooks and of mail, and note what comes until SIGTERM."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        if request.path == HANGING:
            await stopping.wait()
            return web.Response(status=503)
        # A message counts as delivered when it is there, not when its receiver says so.
        book.write(request.headers["webhook-id"])
        if request.path == SLOW:
            await asyncio.sleep(SLOW_SECONDS)
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0, backlog=4096).start()
    relay = await loop.create_server(lambda: Relay(book), "127.0.0.1", 0, backlog=4096)
    print(runner.addresses[0][1], relay.sockets[0].getsockname()[1], flush=True)
    while not stopping.is_set():
        book.flush()
        await asyncio.sleep(FLUSH_SECONDS)
    relay.close()
    await runner.cleanup()


def main(path: Path) -> None:
    """Receive, and write the book to a file."""
    with path.open("w", encoding="ascii") as file, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(receive(Book(file)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
