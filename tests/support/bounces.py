"""Mail that comes back, as servers write it, and what takes it."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Callable
from typing import Any, Final

from streams.database.database import ALL_TENANTS, Database
from streams.listening import listen
from streams.notices.facts import link_key
from streams.notices.model import Destination
from streams.notices.tokens import make_bounce_token
from streams.notify.bounces.listener import Bounces
from streams.notify.status import Status
from streams.settings.addresses import ListenAddress
from tests.support.notices import START

MESSAGE_ID = "msg_0198f0000000000000" + "ab" * 8
REFUSED = "550 5.1.1 <gone@contoso.example>: Recipient address rejected: User unknown"


def report(
    *,
    action: str = "failed",
    status: str = "5.1.1",
    diagnostic: str = f"smtp; {REFUSED}",
    message_id: str | None = MESSAGE_ID,
    **changes: Any,
) -> bytes:
    """A report in the form of Postfix; `changes` replace the type of the report, of its status, of what it returns."""
    kind = changes.get("kind", "multipart/report; report-type=delivery-status")
    groups = changes.get(
        "groups", f"Final-Recipient: rfc822; gone@contoso.example\nAction: {action}\nStatus: {status}\n"
    )
    if diagnostic:
        groups += f"Remote-MTA: dns; mx.contoso.example\nDiagnostic-Code: {diagnostic}\n"
    returned = "" if message_id is None else f"Message-ID: <{message_id}@notices.example>\n"
    text = f"""\
From: MAILER-DAEMON@relay.example (Mail Delivery System)
To: bounce+token@bounces.example
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: {kind}; boundary="edge"

This is a MIME-encapsulated message.

--edge
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--edge
Content-Description: Delivery report
Content-Type: {changes.get("status_type", "message/delivery-status")}

Reporting-MTA: dns; relay.example
X-Postfix-Queue-ID: 4g1
Arrival-Date: Mon, 30 Nov 2026 04:00:00 +0000 (UTC)

{groups}
--edge
Content-Description: Undelivered Message Headers
Content-Type: {changes.get("returned_type", "text/rfc822-headers")}

Return-Path: <bounce+token@bounces.example>
From: tes@notices.example
To: gone@contoso.example
{returned}
--edge--
"""
    return text.replace("\n", "\r\n").encode()


DOMAIN: Final = "bounces.example"


def address_of(database: Database, destination: Destination) -> str:
    """Where mail to a destination comes back to."""
    with database.reading(ALL_TENANTS) as connection:
        return f"bounce+{make_bounce_token(link_key(connection), destination)}@{DOMAIN}"


class Intake:
    """A listener in a loop of its own, as the relay's client sees it."""

    def __init__(self, database: Database, address: ListenAddress, clock: Callable[[], int] = lambda: START) -> None:
        self.status = Status()
        self.bounces = Bounces(database, DOMAIN, self.status, clock)
        self.listener = listen(address)
        self.address = address

    def during(self, work: Callable[[smtplib.LMTP], Any]) -> Any:
        """What a client does while it listens."""

        async def run() -> Any:
            async with self.bounces.taken(self.listener):
                return await asyncio.to_thread(self._with_client, work)

        return asyncio.run(run())

    def _with_client(self, work: Callable[[smtplib.LMTP], Any]) -> Any:
        with self.client() as client:
            return work(client)

    def client(self) -> smtplib.LMTP:
        """One more client."""
        path = self.address.path
        return smtplib.LMTP(path) if path else smtplib.LMTP("127.0.0.1", self.listener.port)

    def bounce(self, address: str, content: bytes, sender: str = "") -> tuple[int, bytes]:
        """Hand in a mail; returns the last answer."""
        return self.during(lambda client: hand_in(client, address, content, sender))  # type: ignore[no-any-return]


def hand_in(client: smtplib.LMTP, address: str, content: bytes, sender: str = "") -> tuple[int, bytes]:
    """Hand in a mail; returns the last answer."""
    client.ehlo_or_helo_if_needed()
    for answer in (client.mail(sender), client.rcpt(address)):
        if answer[0] != 250:
            client.rset()
            return answer
    return client.data(content)
