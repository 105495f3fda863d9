"""Receivers of webhooks on loopback, in the test's own loop, that record all they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network
from typing import Any, NamedTuple
from urllib.parse import quote

from aiohttp import web

from streams.notices.model import Destination, DestinationKind, DestinationState, Form, Message, Origin
from streams.notices.reach import GuardRules
from streams.notices.webhook_secrets import make_secret
from tests.support.report import notification_record

LOOPBACK = GuardRules((ip_network("127.0.0.0/8"), ip_network("::1/128")))
NOW = 1_796_000_000_000
"""A moment of 2026, UTC milliseconds."""
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class TestLinks:
    """Links to a report that nobody runs."""

    __test__ = False

    def page(self, destination: Destination, server: str | None = None) -> str:
        return (
            f"https://report.example/servers/{quote(server, safe='')}" if server else "https://report.example/notices"
        )

    def confirm(self, destination: Destination, message: Message) -> str:
        return f"https://report.example/confirm?token={message.token}"

    def unsubscribe(self, destination: Destination, message: Message) -> str:
        return f"https://report.example/unsubscribe?token={message.token}"


class Received(NamedTuple):
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Receiver:
    """A server's address and what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[Received] = []


@contextlib.asynccontextmanager
async def receiving(
    handler: Handler | None = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Receiver]:
    """A receiver that answers with a status, or as its handler does."""
    receiver = Receiver()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        receiver.received.append(
            Received(request.path_qs, {k.lower(): v for k, v in request.headers.items()}, await request.read())
        )
        return await handler(request) if handler else web.Response(status=status, headers=headers)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        port = runner.addresses[0][1]
        receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/hook"
        yield receiver
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def speaking(
    script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The URL of a server that speaks bytes of its own choice, once it has read a request's head."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await script(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    finally:
        server.close()


def destination_at(address: str, kind: DestinationKind = DestinationKind.WEBHOOK, **changes: Any) -> Destination:
    """A destination of the tenant contoso."""
    given = {"secret": make_secret() if kind == DestinationKind.WEBHOOK else "", "name": "Operations", **changes}
    return Destination(
        "contoso", "d-1", kind, address=address, origin=Origin.TENANT, state=DestinationState.ACTIVE, **given
    )


def single(**changes: Any) -> Message:
    """A message of one notice."""
    return Message("m-1", Form.SINGLE, NOW, (notification_record(1, **changes),), 1)


def digest(count: int, **changes: Any) -> Message:
    """A message of several notices, each of a server of its own."""
    notices = (notification_record(n, **{"server": f"mx{n}.contoso.com", **changes}) for n in range(count))
    return Message("m-2", Form.DIGEST, NOW, tuple(notices), 1)


def confirmation(token: str = "s3cret-challenge") -> Message:
    """The question whether notices are wanted."""
    return Message("m-3", Form.CONFIRMATION, NOW, (), 1, token)


def trial() -> Message:
    """A test without any notice."""
    return Message("m-4", Form.TEST, NOW, (), 1)
