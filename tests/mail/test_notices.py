"""Mails about servers, handed to a real Postfix."""

from __future__ import annotations

import asyncio
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from streams.notices.model import DestinationKind, Message, Outcome, OutcomeKind
from streams.notify.channels.mail import MailChannel
from streams.notify.channels.relay import Relay, TlsMode
from tests.support.mail_relays import SENDER
from tests.support.notice_receivers import NOW, TestLinks, destination_at, digest, single
from tests.support.postfix import INBOX, Postfix


def _send(port: int, *addresses: str, message: Message | None = None, **changes: Any) -> list[Outcome]:
    async def run() -> list[Outcome]:
        relay = Relay("127.0.0.1", port, TlsMode.NONE, "notify.example", **changes)
        channel = MailChannel(relay, SENDER, links=TestLinks())
        try:
            destinations = [destination_at(address, DestinationKind.MAIL) for address in addresses]
            return await asyncio.gather(
                *(channel.send(one, message or single(detected_at=NOW)) for one in destinations)
            )
        finally:
            await channel.close()

    return asyncio.run(run())


def _arrived(postfix: Postfix, address: str) -> EmailMessage:
    """The mail to an address, once it is there; the test's own timeout ends the wait."""
    while True:
        for raw in postfix.inbox:
            mail = message_from_bytes(raw, policy=policy.default)
            if mail["To"] == address:
                return mail
        time.sleep(0.02)


def test_a_mail_arrives_whole_and_under_its_own_id(postfix: Postfix) -> None:
    address = f"whole@{INBOX}"
    message = digest(40, text="line\n.\n..\n" + "ü" * 2_000, kind="UNKNOWN")
    (outcome,) = _send(postfix.listen(), address, message=message)
    assert outcome.kind == OutcomeKind.DELIVERED
    assert "queued as" in outcome.why
    mail = _arrived(postfix, address)
    assert mail["Message-ID"] == "<m-2@notices.example>"
    assert mail["Subject"] == "40 notices about mail servers"
    assert mail["Return-Path"] == "<tes@notices.example>"
    for subtype in ("plain", "html"):
        body = mail.get_body((subtype,))
        assert body is not None
        assert "mx39.contoso.com" in body.get_content() or "ü" * 100 in body.get_content()
    assert not mail.defects


def test_a_mailbox_that_is_not_there_is_refused_and_a_relay_that_does_not_relay_is_a_fault_of_ours(
    postfix: Postfix,
) -> None:
    unknown = f"check_recipient_access inline:{{ {{ gone@{INBOX} = 550 5.1.1 no mailbox }} }}, permit"
    gone = postfix.listen(smtpd_recipient_restrictions=unknown)
    refused, delivered = _send(gone, f"gone@{INBOX}", f"there@{INBOX}")
    assert (refused.kind, refused.code) == (OutcomeKind.GONE, 550)
    assert "no mailbox" in refused.why
    assert delivered.kind == OutcomeKind.DELIVERED
    closed = postfix.listen(smtpd_relay_restrictions="reject_unauth_destination", mynetworks="192.0.2.1/32")
    (denied,) = _send(closed, "somebody@example.net")
    assert (denied.kind, denied.code) == (OutcomeKind.FAULT, 554)
    assert "Relay access denied" in denied.why


@pytest.mark.parametrize("address", [f"jürgen@{INBOX}", f"用户@{INBOX}"])
def test_an_address_outside_ascii_arrives(postfix: Postfix, address: str) -> None:
    (outcome,) = _send(postfix.listen(smtputf8_enable="yes"), address)
    assert outcome.kind == OutcomeKind.DELIVERED
    (outcome,) = _send(postfix.listen(smtputf8_enable="no"), address)
    assert outcome.kind == OutcomeKind.FAILED


def test_many_mails_over_few_connections_all_arrive(postfix: Postfix) -> None:
    addresses = [f"many{number}@{INBOX}" for number in range(120)]
    outcomes = _send(postfix.listen(), *addresses, connections=2)
    assert {one.kind for one in outcomes} == {OutcomeKind.DELIVERED}
