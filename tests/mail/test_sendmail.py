"""A real Sendmail with the milter: it speaks the same protocol in other words than Postfix."""

from __future__ import annotations

import re
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.door import standing_verdict
from tests.support.mail import GOOD, HOST, SENDER, Client, mail_of
from tests.support.milter_service import BLOCKED, blocking_doorway, served_milter
from tests.support.sendmail import MILTER_LINES, Sendmail, running_sendmail

ACCEPTED = re.compile(r"250 2\.0\.0 \w+ Message accepted for delivery")


@pytest.fixture(scope="module")
def sendmail() -> Iterator[Sendmail]:
    with running_sendmail() as running:
        yield running


def test_the_page_has_the_lines_that_are_tested() -> None:
    page = (MILTER_LINES.parents[3] / "docs" / "how-to" / "sendmail.md").read_text(encoding="utf-8")
    assert "".join(f"    {line}\n" for line in MILTER_LINES.read_text(encoding="utf-8").splitlines()) in page


def test_each_message_has_its_exact_reply(sendmail: Sendmail) -> None:
    doorway = blocking_doorway()
    with served_milter(sendmail.socket, doorway) as told, Client(sendmail.port) as client:
        # As the door's own user makes it.
        shutil.chown(sendmail.socket, "nobody", "nogroup")
        sendmail.socket.chmod(0o660)
        assert client.send_mail(None, "b@inbox.example", "c@inbox.example") == BLOCKED
        assert ACCEPTED.fullmatch(client.send_mail(mail_of(GOOD)))
        assert client.give("RSET")[:3] == "250"
        doorway.verdicts.put(standing_verdict(HOST, smtp_template_block="550 5.7.230 100% sure %s %%\r\n250 forged"))
        assert client.send_mail() == "550 5.7.230 100% sure %s %%??250 forged"
        doorway.verdicts.put(standing_verdict(HOST, throttle_minutes_per_hour=60, block_minutes_per_hour=0))
        assert client.send_mail() == "450 4.7.230 later 60"
    assert [event.recipients for event in doorway.told] == [2, 1, 1, 1]
    # The line of Sendmail itself is not among them, and folds are as they came.
    assert {len(event.received) for event in doorway.told} == {1}
    assert doorway.told[0].received[0].startswith(f"from {HOST} (192.0.2.1) by {HOST}\n (192.0.2.1) with Microsoft")
    assert (told.errors, told.reasons, told.failures) == ([], [], [])


def test_a_client_is_answered_at_mail_after_three_messages(sendmail: Sendmail) -> None:
    doorway = blocking_doorway()
    with served_milter(sendmail.socket, doorway), Client(sendmail.port) as client:
        assert [client.send_mail() for _ in range(3)] == [BLOCKED] * 3
        # Sendmail names the address before the text.
        assert client.send_mail() == f"550 5.7.230 <{SENDER}>... no"
    assert len(doorway.told) == 3


@pytest.mark.parametrize(("host", "found"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1")])
@pytest.mark.parametrize("name", ["xn--a.org", "[192.0.2.1]", "mx1.example.com"])
def test_no_greeting_and_no_address_lets_a_client_out(sendmail: Sendmail, host: str, found: str, name: str) -> None:
    doorway = blocking_doorway()
    with served_milter(sendmail.socket, doorway) as told, Client(sendmail.port, name, host) as client:
        assert client.send_mail() == BLOCKED
    assert [(event.source_ip, event.helo) for event in doorway.told] == [(found, name)]
    assert told.errors == []


def test_only_a_certificate_that_sendmail_verified_names_its_client(sendmail: Sendmail, tmp_path: Path) -> None:
    doorway, theirs = blocking_doorway(), Authority(tmp_path)
    subjects = []
    with served_milter(sendmail.socket, doorway):
        for authority in (sendmail.authority, theirs, None):
            context = ssl.create_default_context(cafile=str(sendmail.authority.file))
            context.check_hostname = False
            if authority is not None:
                context.load_cert_chain(*authority.certificate("mail.contoso.example"))
            with Client(sendmail.port) as client:
                client.starttls(context=context)
                client.ehlo()
                assert client.send_mail() == BLOCKED
            subjects.append(doorway.told[-1].tls_subject)
    assert subjects == ["mail.contoso.example", None, None]


def test_report_mode_adds_its_header(sendmail: Sendmail) -> None:
    doorway = blocking_doorway(is_enforcing=False, adds_header=True)
    with served_milter(sendmail.socket, doorway), Client(sendmail.port) as client:
        assert ACCEPTED.fullmatch(client.send_mail())
    (event,) = doorway.told
    assert any(
        f"X-TES: action=BLOCK; cause=BLOCKED; build=15.1.2507.39; event={event.event_id}" in head
        for head in sendmail.queued
    )


def test_mail_goes_on_where_no_milter_runs(sendmail: Sendmail) -> None:
    with Client(sendmail.port) as client:
        assert ACCEPTED.fullmatch(client.send_mail())
