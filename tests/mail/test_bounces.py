"""A mailbox that is refused behind a real Postfix, which returns the mail: its destination is parked."""

from __future__ import annotations

import asyncio
import smtplib
from pathlib import Path
from typing import Final

import pytest

from streams.database.database import ALL_TENANTS
from streams.notices.facts import begin, link_key
from streams.notices.model import Destination, Message, Outcome
from streams.notices.opening import open_ledger
from streams.notices.tables import ATTEMPT, DELIVERY, DESTINATION
from streams.notices.tokens import make_bounce_token
from streams.notify.bounces.reports import ReportKind
from streams.notify.channels.mail import MailChannel
from streams.notify.channels.relay import Relay, TlsMode
from streams.settings.addresses import ListenAddress
from streams.settings.database import DatabaseSettings
from tests.support.bounces import DOMAIN, Intake, address_of
from tests.support.channels import RecordingChannel
from tests.support.mail_relays import SENDER
from tests.support.notice_receivers import TestLinks
from tests.support.notices import START, add_destination, notice, rows_of, subscribe
from tests.support.notify_site import Site
from tests.support.ports import free_port
from tests.support.postfix import Postfix, running_postfix
from tests.support.waiting import until_true

DEAD: Final = "dead.example"


class RelayedMail(RecordingChannel):
    """Mail by a relay at a port, with an address for its bounces."""

    def __init__(self, port: int, key: bytes) -> None:
        super().__init__()
        self._relay, self._key = Relay("127.0.0.1", port, TlsMode.NONE, "notify.example"), key

    async def send(self, destination: Destination, message: Message) -> Outcome:
        sender = SENDER._replace(bounce_domain=DOMAIN)
        token = make_bounce_token(self._key, destination)
        channel = MailChannel(self._relay, sender, links=TestLinks(), bounce_token=lambda _: token)
        outcome = await channel.send(destination, message)
        await channel.close()
        return outcome


@pytest.mark.parametrize("is_unix", [False, True], ids=["tcp", "unix"])
def test_a_mail_that_a_relay_returns_parks_its_destination(postfix: Postfix, tmp_path: Path, is_unix: bool) -> None:
    refusing = f"check_recipient_access inline:{{ {{ gone@{DEAD} = 550 5.1.1 no mailbox of this name }} }}, permit"
    behind = postfix.listen(smtpd_recipient_restrictions=refusing)
    socket = postfix.folder / "sockets" / "lmtp"
    address = ListenAddress(str(socket)) if is_unix else ListenAddress(None, "127.0.0.1", free_port())
    way = f"unix:{socket}" if is_unix else f"inet:127.0.0.1:{address.port}"
    routes = f"inline:{{ {{ {DEAD} = smtp:[127.0.0.1]:{behind} }}, {{ {DOMAIN} = lmtp:{way} }} }}"
    database = open_ledger(DatabaseSettings(directory=str(tmp_path)))
    database.migrate()
    begin(database, START)
    with database.reading(ALL_TENANTS) as connection:
        key = link_key(connection)
    gone, there = (add_destination(database, address=f"{name}@{DEAD}") for name in ("gone", "there"))
    for one in (gone, there):
        subscribe(database, one)
    intake = Intake(database, address)
    if is_unix:
        socket.chmod(0o666)
    with running_postfix({"transport_maps": routes}) as relay:

        def work(client: smtplib.LMTP) -> None:
            site = Site(database, channel=RelayedMail(relay.listen(), key))
            site.record(notice(1))
            site.deliver(after=1_000)
            asyncio.run(until_true(came_back))
            # What else comes to that address is the relay's to deliver too, and changes nothing.
            reply = b"Subject: Away\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n"
            with smtplib.SMTP("127.0.0.1", relay.listen()) as answering:
                answering.sendmail("", [address_of(database, there)], reply)
            asyncio.run(until_true(answered))

        async def came_back() -> bool:
            return intake.status.bounces[ReportKind.PERMANENT] == 1

        async def answered() -> bool:
            return intake.status.bounces[ReportKind.OTHER] == 1

        intake.during(work)
        states = {row["address"]: (row["state"], row["parked_why"]) for row in rows_of(database, DESTINATION)}
        assert states[f"there@{DEAD}"] == ("ACTIVE", None)
        state, why = states[f"gone@{DEAD}"]
        assert state == "PARKED"
        assert "550 5.1.1" in why
        assert "no mailbox of this name" in why
        assert sorted(row["state"] for row in rows_of(database, DELIVERY)) == ["SENT", "WAITING"]
        assert sorted(row["outcome"] for row in rows_of(database, ATTEMPT)) == ["DELIVERED", "DELIVERED", "GONE"]
        assert "status=bounced" in relay.log
    database.close()
