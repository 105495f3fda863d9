"""The HTTP door, served beside a test in a thread of its own; and doors that answer as none should."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvloop

from streams.domain.exchange.build import parse_build
from streams.edge.http.server import HttpServer
from streams.settings.addresses import ListenAddress
from tests.support.door import Doorway, standing_verdict
from tests.support.mail import GOOD, HOST

SECONDS = 60
_TEXT = "Connecting Exchange server version is out-of-date; connection to Exchange Online"
THROTTLED = f"450 4.7.230 {_TEXT} throttled for 60 mins/hr."
BLOCKED = f"550 5.7.230 {_TEXT} blocked for 60 mins/hr."


def judging_doorway(
    *,
    is_blocking: bool = True,
    is_enforcing: bool = True,
    adds_header: bool = False,
    throttled: str = THROTTLED,
    blocked: str = BLOCKED,
) -> Doorway:
    """A door that throttles or blocks `HOST` all the time, unless a message shows the build `GOOD`."""
    doorway = Doorway(is_enforcing=is_enforcing, adds_header=adds_header)
    verdict = standing_verdict(
        HOST,
        throttle_minutes_per_hour=0 if is_blocking else 60,
        block_minutes_per_hour=60 if is_blocking else 0,
        smtp_template_throttle=throttled,
        smtp_template_block=blocked,
        required_build=parse_build(GOOD),
    )
    doorway.verdicts.put(verdict)
    return doorway


@dataclass
class HttpTold:
    """What the HTTP door told."""

    statuses: list[int] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)

    def opened(self) -> None:
        """A connection was opened."""

    def closed(self) -> None:
        """A connection has ended."""

    def turned_away(self) -> None:
        """There was no room for a connection."""

    def refused(self, status: int) -> None:
        self.statuses.append(int(status))

    def failed(self, where: str, error: Exception) -> None:
        self.failures.append((where, error))


@contextlib.contextmanager
def served_http(port: int, doorway: Doorway) -> Iterator[HttpTold]:
    """Serve a door at a port of loopback."""
    told, loop = HttpTold(), uvloop.new_event_loop()
    server = HttpServer(doorway.door, told)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        address = ListenAddress(None, "127.0.0.1", port)
        asyncio.run_coroutine_threadsafe(server.start(address), loop).result(SECONDS)
        try:
            yield told
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


@contextlib.contextmanager
def answering(port: int, answer: bytes | None) -> Iterator[list[bytes]]:
    """Answer each connection with the same bytes and close it, or with None never; gives what was asked."""
    asked: list[bytes] = []
    kept: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                kept.append(connection)
                asked.append(connection.recv(1 << 20))
                if answer is not None:
                    connection.sendall(answer)
                    connection.close()

    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            # This wakes the thread, which closing alone does not.
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)
            for connection in kept:
                connection.close()
