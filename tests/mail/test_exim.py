"""A real Exim that asks the HTTP door: what its clients are answered, and what the service is told."""

from __future__ import annotations

import json
import ssl
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from streams.edge.client import Client as EdgeClient
from streams.edge.client import Connector
from tests.support.certificates import Authority
from tests.support.door import CONNECTOR
from tests.support.exim import Exim, running_exim
from tests.support.http_door import BLOCKED, THROTTLED, answering, judging_doorway, served_http
from tests.support.mail import GOOD, HOST, OLD, SENDER, Client, mail_of

ANSWER = json.dumps({"action": "reject", "reply": BLOCKED}).encode()
OTHER_ANSWERS = {
    "nothing": b"",
    "no HTTP": b"\0\xff" * 1000,
    "an error": b"HTTP/1.1 500 Internal Server Error\r\n\r\n" + ANSWER,
    "a refusal": b"HTTP/1.1 400 Bad Request\r\n\r\n" + ANSWER,
    "no JSON": b"HTTP/1.1 200 OK\r\n\r\n<html>${readfile{/etc/passwd}}</html>",
    "no reply": b'HTTP/1.1 200 OK\r\n\r\n{"action":"reject","reply":null}',
    "a reply that accepts": b'HTTP/1.1 200 OK\r\n\r\n{"action":"reject","reply":"250 2.0.0 OK"}',
    "half an answer": b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER[:-40],
}


@pytest.fixture(scope="module")
def exim() -> Iterator[Exim]:
    with running_exim() as running:
        yield running


def joined(reply: str) -> str:
    """A reply in several lines as one: Exim breaks one of more than 75 characters at spaces, and repeats its code."""
    first, *more = reply.split("\n")
    code = first.split(" ")[1]
    assert all(line.startswith(f"{code} ") for line in more)
    return " ".join([first, *(line.removeprefix(f"{code} ") for line in more)])


@pytest.mark.parametrize(("is_blocking", "reply"), [(True, BLOCKED), (False, THROTTLED)])
def test_a_client_gets_the_verdicts_code_and_words(exim: Exim, is_blocking: bool, reply: str) -> None:
    doorway = judging_doorway(is_blocking=is_blocking)
    with served_http(exim.door, doorway) as told, Client(exim.port) as client:
        said = client.send_mail()
        assert joined(said) == reply
        # What the client sends next on its connection is judged on its own.
        assert joined(client.send_mail()) == reply
        assert client.send_mail(mail_of(GOOD)).startswith("250 OK id=")
    assert len(said.split("\n")) == 2, "Exim no longer breaks replies: say so in docs/how-to/exim.md"
    assert (told.statuses, told.failures) == ([], [])


def test_the_lines_of_the_client_are_told_and_not_exims_own(exim: Exim) -> None:
    doorway = judging_doorway()
    odd = 'from "a\\b" by c;\r\n\tx \xe9\x01\x7f ${domain} \\N {"reply":"250 2.0.0 no"}'
    before = f"Received: {odd}\r\nX-Other: Received: no\r\n"
    with served_http(exim.door, doorway) as told, Client(exim.port) as client:
        client.send_mail(mail_of(OLD, before=before) + b"Received: in the body\r\n", SENDER, "c@example.com")
    assert (told.statuses, told.failures) == ([], [])
    (event,) = doorway.told
    first, line = event.received
    assert first == odd.replace("\r\n\t", " ").replace("\x01\x7f", " ")
    assert line.startswith(
        f"from {HOST} (192.0.2.1) by {HOST} (192.0.2.1) with Microsoft SMTP Server (version=TLS1_2, "
    )
    assert (event.source_ip, event.helo, event.message_id) == ("127.0.0.1", HOST, "<1@example.com>")
    assert event.recipients == 2


def test_bytes_that_are_no_utf8_do_not_lead_past_the_door(exim: Exim) -> None:
    doorway = judging_doorway()
    message = mail_of().replace(b"cipher=", b"cipher=\xe9\xff", 1).replace(b"<1@", b"<\xc3\x28@")
    with served_http(exim.door, doorway) as told, Client(exim.port) as client:
        assert joined(client.send_mail(message)) == BLOCKED
    assert (told.statuses, told.failures) == ([], [])
    assert "cipher=?TLS_" in doorway.told[0].received[0].replace("??", "?")


def test_lines_without_number_or_end_do_not_lead_past_the_door(exim: Exim) -> None:
    doorway = judging_doorway()
    many = "".join(f'X-{number}: "\\\r\n' for number in range(10_000))
    long = 'Received: "' + '"\\' * 300 + "\r\n"
    message = mail_of().replace(b"From:", f"{long * 1000}{many}From:".encode(), 1)
    with served_http(exim.door, doorway) as told, Client(exim.port) as client:
        assert joined(client.send_mail(message)) == BLOCKED
    assert (told.statuses, told.failures) == ([], [])


def test_a_reply_reaches_the_client_as_it_is_and_is_never_expanded(exim: Exim) -> None:
    text = '550 5.7.230 "100%" \\ ${run{/bin/true}} $sender_host_address'
    with served_http(exim.door, judging_doorway(blocked=text)), Client(exim.port) as client:
        assert client.send_mail() == text


def test_a_client_that_was_refused_is_answered_at_mail(exim: Exim) -> None:
    doorway = judging_doorway()
    with served_http(exim.door, doorway), Client(exim.port) as client:
        for _ in range(3):
            assert joined(client.send_mail()) == BLOCKED
        assert joined(client.give(f"MAIL FROM:<{SENDER}>")) == BLOCKED
    assert len(doorway.told) == 3
    assert sum(doorway.spool.counts.values()) == 1


def test_in_report_mode_mail_passes_with_a_header(exim: Exim) -> None:
    doorway = judging_doorway(is_enforcing=False, adds_header=True)
    with served_http(exim.door, doorway), Client(exim.port) as client:
        said = client.send_mail()
        assert said.startswith("250 OK id=")
    (headers,) = [text for text in exim.queued if said.removeprefix("250 OK id=") in text]
    assert f"X-TES: action=BLOCK; cause=BLOCKED; build={OLD}; event={doorway.told[0].event_id}\n" in headers


def test_mail_of_no_connector_passes_and_is_told_to_nobody(exim: Exim) -> None:
    doorway = judging_doorway()
    doorway.connectors.connector = None
    with served_http(exim.door, doorway), Client(exim.port) as client:
        assert client.send_mail().startswith("250 OK id=")
    assert doorway.told == []


def test_mail_passes_without_a_door(exim: Exim) -> None:
    with Client(exim.port) as client:
        assert client.send_mail().startswith("250 OK id=")


@pytest.mark.parametrize("answer", OTHER_ANSWERS.values(), ids=OTHER_ANSWERS)
def test_mail_passes_whatever_is_answered(exim: Exim, answer: bytes) -> None:
    with answering(exim.door, answer) as asked, Client(exim.port) as client:
        assert client.send_mail().startswith("250 OK id=")
    assert len(asked) == 2


def test_mail_passes_when_the_door_hangs(exim: Exim) -> None:
    with answering(exim.door, None) as asked, Client(exim.port) as client:
        assert client.send_mail().startswith("250 OK id=")
    assert len(asked) == 2


def pem_of(file: Path) -> str:
    """The certificate of a file that has its key too."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = file.read_text()
    return text[text.index(begin) : text.index(end) + len(end)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that Exim's user may read, as pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="tes-exim-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_client_is_known_by_its_certificate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, strange = Authority(folder, "trusted"), Authority(folder, "strange")
    settings = {
        "tls_advertise_hosts": "*",
        "tls_certificate": str(trusted.certificate("frontend.test.invalid")[0]),
        "tls_verify_certificates": str(trusted.file),
        "tls_try_verify_hosts": "*",
    }
    shown = [trusted.certificate("mail.contoso.com"), strange.certificate("mail.fabrikam.com")]
    seen: list[tuple[str | None, str | None]] = []
    doorway = judging_doorway()

    def find(client: EdgeClient) -> Connector:
        seen.append((client.tls_subject, client.tls_fingerprint))
        return CONNECTOR

    monkeypatch.setattr(doorway.connectors, "find", find)
    with running_exim(settings) as exim, served_http(exim.door, doorway) as told:
        for files in (None, *shown):
            context = ssl.create_default_context(cafile=trusted.file)
            context.check_hostname = False
            if files is not None:
                context.load_cert_chain(*files)
            with Client(exim.port) as client:
                client.starttls(context=context)
                client.ehlo()
                assert joined(client.send_mail()) == BLOCKED
    fingerprints = [sha256(ssl.PEM_cert_to_DER_cert(pem_of(file))).hexdigest() for file, _ in shown]
    of_each = [(None, None), ("mail.contoso.com", fingerprints[0]), (None, fingerprints[1])]
    # At MAIL and at the end of each message.
    assert seen == [said for said in of_each for _ in range(2)]
    assert (told.statuses, told.failures) == ([], [])
