"""A real Postfix with the milter: what its clients are answered, to the letter, and what the service is told."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.domain.edge import Cause
from streams.domain.exchange.build import parse_build
from streams.domain.exchange.detection import detect
from streams.domain.policy.policy import ConnectorType
from streams.domain.server.connection import Outcome
from streams.edge.client import Connector
from tests.support.certificates import Authority
from tests.support.door import NOW, standing_verdict
from tests.support.mail import GOOD, HOST, OLD, RECIPIENT, SENDER, Client, mail_of, pipelined
from tests.support.milter_service import BLOCKED, Fronts, blocking_doorway, milter_process, served_milter
from tests.support.postfix import Postfix, running_postfix
from tests.support.waiting import until_true

ACCEPTED = re.compile(r"250 2\.0\.0 Ok: (?:\d+ bytes )?queued as \w+")
PAGE = Path(__file__).parents[2] / "docs" / "path" / "observe.md"
PATIENCE_SECONDS = 25
"""Postfix waits 2 s for a milter as `postfix.MILTER` has it; without, it would be 30 s for a command."""


def test_a_message_of_a_blocked_server_has_the_exact_reply_of_its_verdict(fronts: Fronts) -> None:
    front = fronts.open()
    with Client(front.port) as client:
        assert client.send_mail() == BLOCKED
    (event,) = front.doorway.told
    assert (event.source_ip, event.helo, event.recipients) == ("127.0.0.1", HOST, 1)
    assert event.message_id == "<1@example.com>"
    # The line of Postfix itself is not among them, and folds are as they came.
    (line,) = event.received
    assert line.startswith(
        f"from {HOST} (192.0.2.1) by {HOST}\n (192.0.2.1) with Microsoft SMTP Server (version=TLS1_2,\n"
    )
    assert (front.told.errors, front.told.failures) == ([], [])


def test_a_throttled_server_is_told_to_come_later(fronts: Fronts) -> None:
    doorway = blocking_doorway()
    doorway.verdicts.put(standing_verdict(HOST, throttle_minutes_per_hour=60, block_minutes_per_hour=0))
    front = fronts.open(doorway)
    with Client(front.port) as client:
        assert client.send_mail() == "450 4.7.230 later 60"
        # What the client sends next on its connection is judged on its own.
        assert client.send_mail() == "450 4.7.230 later 60"


def test_a_patched_server_and_an_unknown_one_are_let_in(fronts: Fronts) -> None:
    front = fronts.open()
    with Client(front.port) as client:
        assert client.send_mail() == BLOCKED
        assert ACCEPTED.fullmatch(client.send_mail(mail_of(GOOD)))
        assert ACCEPTED.fullmatch(client.send_mail(mail_of(host="mx9.example.com")))
        assert client.send_mail() == BLOCKED
    causes = [decision.cause for _, decision in front.doorway.telemetry.answers]
    assert causes == [Cause.BLOCKED, Cause.ACCEPTED_STAMP, Cause.NO_VERDICT, Cause.BLOCKED]


def test_swaks_sees_the_reply_too(fronts: Fronts, tmp_path: Path) -> None:
    front = fronts.open()
    (tmp_path / "message").write_bytes(mail_of().replace(b"\r\n", b"\n"))
    done = subprocess.run(
        [
            *("swaks", "--server", f"127.0.0.1:{front.port}", "--ehlo", HOST, "--from", SENDER, "--to", RECIPIENT),
            *("--hide-informational", "--data", f"@{tmp_path / 'message'}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, f"<** {BLOCKED}" in done.stdout) == (26, True), done.stdout + done.stderr


def test_the_messages_by_hand_of_the_page_look_like_those_of_exchange_servers(fronts: Fronts) -> None:
    front = fronts.open()
    block = re.search(r"^    python3 - <<'END'\n(.+?)^    END$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    script = textwrap.dedent(block[1])
    for written, here in (('"127.0.0.1", 25,', f'"127.0.0.1", {front.port},'), ("root@localhost", RECIPIENT)):
        assert written in script
        script = script.replace(written, here)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    told = front.doorway.told
    assert {event.source_ip for event in told} == {"127.0.0.2"}
    found = [detect(event.received, event.helo, event.source_ip) for event in told]
    assert [(one.server, one.build) for one in found] == [
        (f"mx{number}.contoso.com", parse_build(build)) for number, build in enumerate((OLD, GOOD, "15.0.1497.32"), 1)
    ]


def test_a_client_is_answered_at_mail_after_three_messages_and_shows_its_build_within_the_probe_window(
    fronts: Fronts,
) -> None:
    front = fronts.open()
    for _ in range(3):
        with Client(front.port) as client:
            assert client.send_mail() == BLOCKED
    with Client(front.port) as client:
        assert [client.give(f"MAIL FROM:<{SENDER}>") for _ in range(2)] == [BLOCKED] * 2
    front.doorway.now = NOW + 5 * 60_000
    with Client(front.port) as client:
        assert ACCEPTED.fullmatch(client.send_mail(mail_of(GOOD)))
    assert [event.refused_before for event in front.doorway.told] == [0, 0, 0, 2]


HOSTILE = "550 5.7.230 100% sure %s %d %%\r\n250 2.0.0 forged\n250 forged\r\t\x1b[31m\0ß"


def test_no_text_of_a_verdict_forges_a_reply(fronts: Fronts) -> None:
    plain = "550 5.7.230 Connecting Exchange server version is out-of-date; connection blocked for 60 mins/hr."
    clean = "550 5.7.230 100% sure %s %d %%??250 2.0.0 forged?250 forged???[31m??"
    for template, expected in (
        (HOSTILE, clean),
        (HOSTILE + "x" * 3000, clean + "x" * (510 - len(clean))),
        ("250 2.0.0 Ok", plain),
        ("450 4.7.230 other class", plain),
        ("", plain),
    ):
        doorway = blocking_doorway()
        doorway.verdicts.put(standing_verdict(HOST, smtp_template_block=template))
        front = fronts.open(doorway)
        commands = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@inbox.example>\r\nDATA\r\n"
        mail, recipient, go, reply, after, end = pipelined(front.port, commands, mail_of(), b".\r\nNOOP\r\nQUIT\r\n")
        assert [line[:3] for line in (mail, recipient, go, after, end)] == ["250", "250", "354", "250", "221"]
        assert reply == expected


def test_every_recipient_is_counted_and_one_answer_is_for_all(fronts: Fronts) -> None:
    front = fronts.open()
    with Client(front.port) as client:
        assert client.send_mail(None, "b@inbox.example", "c@inbox.example") == BLOCKED
    assert [event.recipients for event in front.doorway.told] == [2]


def test_messages_in_a_pipeline_are_answered_each_on_its_own(fronts: Fronts) -> None:
    front = fronts.open()
    with Client(front.port) as client:
        assert "pipelining" in client.esmtp_features
    sent = []
    for build in (OLD, GOOD, OLD):
        sent += [b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@inbox.example>\r\nDATA\r\n", mail_of(build), b".\r\n"]
    replies = pipelined(front.port, *sent, b"QUIT\r\n")
    ends = [line for line in replies if not line.startswith(("250 2.1", "354", "221"))]
    assert [ends[0], ends[2]] == [BLOCKED] * 2
    assert ACCEPTED.fullmatch(ends[1])
    assert len(front.doorway.told) == 3


def test_a_message_in_chunks_is_answered_at_the_last_one(fronts: Fronts) -> None:
    front = fronts.open()
    with Client(front.port) as client:
        assert "chunking" in client.esmtp_features
        for build, last in ((OLD, BLOCKED), (GOOD, None)):
            message = mail_of(build)
            assert client.give(f"MAIL FROM:<{SENDER}>")[0] == "2"
            assert client.give(f"RCPT TO:<{RECIPIENT}>")[0] == "2"
            # The cut is in the middle of the line that decides.
            replies = client.send_chunks(message[:100], message[100:200], message[200:])
            assert [reply[:3] for reply in replies[:2]] == ["250", "250"]
            assert replies[2] == last if last else ACCEPTED.fullmatch(replies[2])
    assert len(front.doorway.told) == 2


def test_addresses_and_headers_beyond_ascii_change_nothing(fronts: Fronts) -> None:
    front = fronts.open(smtputf8_enable="yes")
    with Client(front.port) as client:
        assert "smtputf8" in client.esmtp_features
        client.command_encoding = "utf-8"
        for message in (mail_of(subject="größer"), mail_of(host="größe.example")):
            assert client.give("MAIL FROM:<größe@example.com> SMTPUTF8")[0] == "2"
            assert client.give("RCPT TO:<ß@inbox.example>")[0] == "2"
            code, text = client.data(message)
            reply = f"{code} {text.decode()}"
            is_other = "größe.example".encode() in message
            assert ACCEPTED.fullmatch(reply) if is_other else reply == BLOCKED
    assert "größe.example" in front.doorway.told[-1].received[0]


def test_ten_thousand_header_lines_are_judged_by_the_topmost(fronts: Fronts) -> None:
    front = fronts.open()
    line = "Received: from a by b.example with SMTP; Tue, 24 Nov 2026 04:00:00 +0000\r\n"
    many = (line * 5_000 + "X-Junk: x\r\n" * 5_000).encode()
    with Client(front.port) as client:
        assert client.send_mail(mail_of().replace(b"From:", many + b"From:")) == BLOCKED
        assert client.send_mail(mail_of(before="X-Junk: x\r\n" * 10_000)) == BLOCKED
    assert [len(event.received) for event in front.doorway.told] == [256, 1]
    assert front.told.errors == []


@pytest.mark.parametrize(("address", "found"), [("IPv6:2001:DB8:0:0::1", "2001:db8::1"), ("192.0.2.55", "192.0.2.55")])
def test_a_client_is_told_by_its_canonical_address(fronts: Fronts, address: str, found: str) -> None:
    front = fronts.open()
    with Client(front.port) as client:
        assert client.give(f"XCLIENT ADDR={address} NAME={HOST}")[:3] == "220"
        client.ehlo()
        assert client.send_mail() == BLOCKED
    assert [event.source_ip for event in front.doorway.told] == [found]
    assert front.told.errors == []


def test_a_trusted_certificate_names_its_client_and_an_untrusted_one_does_not(fronts: Fronts, tmp_path: Path) -> None:
    theirs, ours = Authority(tmp_path, "theirs"), Authority(tmp_path, "ours")
    certificate, key = ours.certificate("frontend.test.invalid")
    tmp_path.chmod(0o755)
    front = fronts.open(
        smtpd_tls_security_level="may",
        smtpd_tls_cert_file=str(certificate),
        smtpd_tls_key_file=str(key),
        smtpd_tls_ask_ccert="yes",
        smtpd_tls_CAfile=str(ours.file),
    )
    subjects = []
    for authority in (ours, theirs, None):
        context = ssl.create_default_context(cafile=str(ours.file))
        context.check_hostname = False
        if authority is not None:
            context.load_cert_chain(*authority.certificate("mail.contoso.example"))
        with Client(front.port) as client:
            # What was said in clear does not count any more.
            client.starttls(context=context)
            client.ehlo("other.example")
            assert client.send_mail() == BLOCKED
        event = front.doorway.told[-1]
        subjects.append((event.tls_subject, event.helo))
    assert subjects == [("mail.contoso.example", "other.example"), (None, "other.example"), (None, "other.example")]


def test_a_listener_can_say_whose_mail_comes_in(fronts: Fronts) -> None:
    front = fronts.open(
        milter_connect_macros="j {daemon_name} v _ {tes_tenant} {tes_connector} {tes_connector_type}",
        milter_macro_defaults="tes_tenant=fabrikam, tes_connector=c7, tes_connector_type=PARTNER",
    )
    with Client(front.port) as client:
        assert ACCEPTED.fullmatch(client.send_mail())
    (event,) = front.doorway.told
    assert Connector(event.tenant_id, event.connector_id, event.connector_type) == Connector(
        "fabrikam", "c7", ConnectorType.PARTNER
    )


def test_mail_of_nobody_is_untouched_and_not_told(fronts: Fronts) -> None:
    front = fronts.open()
    front.doorway.connectors.connector = None
    with Client(front.port) as client:
        assert ACCEPTED.fullmatch(client.send_mail())
    assert (front.doorway.told, front.doorway.telemetry.unmatched_messages) == ([], 1)


@pytest.mark.parametrize("name", ["xn--a.org", "größe.example", "[192.0.2.1]", "-", "a" * 400])
def test_no_greeting_lets_a_client_out(fronts: Fronts, name: str) -> None:
    front = fronts.open()
    with smtplib.SMTP("127.0.0.1", front.port, timeout=60) as client:
        client.send(f"EHLO {name}\r\n".encode())
        assert client.getreply()[0] == 250
        for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>"):
            assert client.docmd(command)[0] == 250
        assert client.data(mail_of()) == (550, b"5.7.230 no")
    assert front.told.errors == []


def test_report_mode_changes_nothing_but_its_header(fronts: Fronts) -> None:
    delivered = []
    for adds_header in (False, True):
        front = fronts.open(blocking_doorway(is_enforcing=False, adds_header=adds_header))
        subject = f"report {front.port}"
        with Client(front.port) as client:
            assert ACCEPTED.fullmatch(client.send_mail(mail_of(subject=subject)))
        delivered.append(delivered_message(fronts.postfix, subject))
    without, with_header = [
        re.sub(rb"(?s)^.*?(?=Received: from mx1.example.com \(192)", b"", message) for message in delivered
    ]
    expected = mail_of(subject="report").replace(b"\r\n", b"\n")
    strip = re.compile(rb"(?<=report) \d+")
    assert strip.sub(b"", without).strip() == expected.strip()
    added = re.compile(
        rb"^X-TES: action=BLOCK; cause=BLOCKED; build=15\.1\.2507\.39;\s+event=[0-9a-f-]{36}\n", re.MULTILINE
    )
    assert len(added.findall(with_header)) == 1
    assert strip.sub(b"", added.sub(b"", with_header)).strip() == expected.strip()


def delivered_message(postfix: Postfix, subject: str) -> bytes:
    """The message of this subject, once it is delivered."""
    found: list[bytes] = []

    def is_there() -> bool:
        found.extend(message for message in postfix.inbox if f"Subject: {subject}\n".encode() in message)
        return bool(found)

    wait_until(is_there)
    return found[0]


def wait_until(condition: Callable[[], bool]) -> None:
    async def is_true() -> bool:
        return condition()

    asyncio.run(until_true(is_true))


def test_a_sending_mail_server_keeps_what_is_delayed_and_returns_what_is_refused(fronts: Fronts) -> None:
    doorway = blocking_doorway()
    throttling = standing_verdict(HOST, throttle_minutes_per_hour=60, block_minutes_per_hour=0)
    doorway.verdicts.put(throttling)
    front = fronts.open(doorway)
    sending = {
        "myhostname": HOST,
        "default_transport": f"smtp:[127.0.0.1]:{front.port}",
        "virtual_mailbox_domains": "",
        # Like an Exchange server, it has put its line on top; its own as a Postfix would be a gateway's.
        "smtp_header_checks": "regexp:{ { /^Received:.*Postfix/ IGNORE } }",
        "minimal_backoff_time": "1s",
    }
    with running_postfix(sending) as sender, Client(sender.listen()) as client:
        assert ACCEPTED.fullmatch(client.send_mail(mail_of(subject="delayed")))
        wait_until(lambda: "450 4.7.230 later 60" in str(sender.queued))
        doorway.verdicts.put(throttling._replace(throttle_minutes_per_hour=0))
        sender.flush()
        assert b"15.1.2507.39" in delivered_message(fronts.postfix, "delayed")
        wait_until(lambda: not sender.queued)
        doorway.verdicts.put(standing_verdict(HOST))
        assert ACCEPTED.fullmatch(client.send_mail(mail_of(subject="refused")))
        wait_until(lambda: f"said: {BLOCKED} (in reply to end of DATA command)" in sender.log)
        assert "status=bounced" in sender.log
    # The notice of the refusal comes back through here too, and shows no line.
    outcomes = [event.outcome for event in doorway.told if event.received]
    assert outcomes == [Outcome.DEFERRED, Outcome.ACCEPTED, Outcome.REJECTED]


def test_a_client_that_hangs_within_its_message_keeps_nobody_waiting(fronts: Fronts) -> None:
    front = fronts.open()
    with Client(front.port) as hanging:
        for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
            assert hanging.give(command)[0] in "23"
        message = mail_of()
        hanging.send(message[:150])
        with Client(front.port) as client:
            assert client.send_mail() == BLOCKED
        # It goes on after all, and is judged like any other.
        hanging.send(message[150:] + b".\r\n")
        assert hanging.getreply() == (550, b"5.7.230 no")
    # And one that never ends.
    with socket.create_connection(("127.0.0.1", front.port)) as dead:
        dead.sendall(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@inbox.example>\r\nDATA\r\nReceived: x")
    with Client(front.port) as client:
        assert client.send_mail() == BLOCKED
    assert front.told.errors == []


def test_mail_goes_on_where_no_milter_runs(fronts: Fronts) -> None:
    path = fronts.socket()
    port = fronts.postfix.listen(path)
    with Client(port) as client:
        assert ACCEPTED.fullmatch(client.send_mail())
    with served_milter(path, blocking_doorway()), Client(port) as client:
        assert client.send_mail() == BLOCKED
    with Client(port) as client:
        assert ACCEPTED.fullmatch(client.send_mail())


def test_mail_goes_on_where_the_milter_is_killed_and_is_judged_when_it_is_back(fronts: Fronts) -> None:
    path = fronts.socket()
    with milter_process(path) as process:
        port = fronts.postfix.listen(path)
        with Client(port) as client:
            assert client.send_mail() == BLOCKED
            # Within a message: what it would have answered to the end is not known any more.
            assert client.give(f"MAIL FROM:<{SENDER}>")[0] == "2"
            process.kill()
            process.wait()
            assert client.give(f"RCPT TO:<{RECIPIENT}>")[0] == "2"
            code, text = client.data(mail_of())
            assert ACCEPTED.fullmatch(f"{code} {text.decode()}")
        with Client(port) as client:
            assert ACCEPTED.fullmatch(client.send_mail())
    with milter_process(path), Client(port) as client:
        assert client.send_mail() == BLOCKED


def test_mail_waits_no_longer_than_the_timeout_where_the_milter_hangs(fronts: Fronts) -> None:
    path = fronts.socket()
    with milter_process(path) as process:
        port = fronts.postfix.listen(path)
        with Client(port) as client:
            assert client.give(f"MAIL FROM:<{SENDER}>")[0] == "2"
            os.kill(process.pid, signal.SIGSTOP)
            assert client.sock is not None
            client.sock.settimeout(PATIENCE_SECONDS)
            assert client.give(f"RCPT TO:<{RECIPIENT}>")[0] == "2"
            code, text = client.data(mail_of())
            assert ACCEPTED.fullmatch(f"{code} {text.decode()}")
        with Client(port) as client:
            assert ACCEPTED.fullmatch(client.send_mail())
        os.kill(process.pid, signal.SIGCONT)
        with Client(port) as client:
            assert client.send_mail() == BLOCKED
