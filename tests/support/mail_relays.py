"""Relays on loopback, in the test's own loop: what they answer, and whether they do, is the test's choice."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from streams.notify.channels.mail_message import MailAddress, Sender
from streams.notify.channels.relay import Relay, TlsMode

SENDER = Sender("Transport enforcement", MailAddress("tes", "notices.example"))
Answer = str | Callable[[], Awaitable[str]]


class Handler:
    """Answers each stage as it is told; `letters` are those that it took."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.letters: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.stages: list[str] = []
        self.connections = 0

    async def _answer(self, stage: str, usual: str) -> str:
        self.stages.append(stage)
        answer = self.answers.get(stage, usual)
        return answer if isinstance(answer, str) else await answer()

    async def handle_MAIL(self, server: SMTP, _: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        envelope.mail_from, envelope.mail_options = address, options
        return await self._answer("mail", "250 2.1.0 Ok")

    async def handle_RCPT(self, server: SMTP, _: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        answer = await self._answer("rcpt", "250 2.1.5 Ok")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.letters.append(message_from_bytes(envelope.content, policy=policy.default))
        self.envelopes.append(envelope)
        return await self._answer("data", "250 2.0.0 Ok: queued as 4711")


class Server(SMTP):
    """A relay that counts connections, and can drop one."""

    handler: Handler

    def connection_made(self, transport: Any) -> None:
        self.handler.connections += 1
        super().connection_made(transport)


@contextlib.asynccontextmanager
async def relaying(
    handler: Handler, tls: TlsMode = TlsMode.NONE, context: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Relay]:
    """A relay that the handler answers for."""

    def make() -> Server:
        given = {"enable_SMTPUTF8": True, "hostname": "relay.example", **options}
        if tls == TlsMode.STARTTLS:
            given |= {"tls_context": context, "require_starttls": True}
        server = Server(handler, **given)
        server.handler = handler
        return server

    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0, ssl=context if tls == TlsMode.TLS else None)
    try:
        port = server.sockets[0].getsockname()[1]
        relay = Relay("127.0.0.1", port, tls, "notify.example")
        yield relay._replace(timeout_seconds=30, wait_seconds=300, letter_seconds=300)
    finally:
        server.close()


def drop(server: SMTP) -> None:
    """End a connection at once."""
    assert isinstance(server.transport, asyncio.Transport)
    server.transport.abort()


def password_is(password: str) -> Callable[..., AuthResult]:
    """Accepts one password."""

    def check(server: object, session: object, envelope: object, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.password == password.encode(), handled=False)

    return check
