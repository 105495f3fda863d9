from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from hypothesis import given
from hypothesis import strategies as st

from streams.notices.model import Destination, DestinationKind, Message, Outcome, OutcomeKind
from streams.notify.channels.mail import MailChannel
from streams.notify.channels.mail_message import (
    MailAddress,
    MailAddressError,
    Sender,
    parse_address,
    parse_sender,
    write_letter,
)
from streams.notify.channels.mail_text import MailText
from streams.notify.channels.relay import Relay, TlsMode
from streams.notify.sending import SEND_SECONDS
from tests.support.certificates import Authority
from tests.support.mail_relays import SENDER, Handler, drop, password_is, relaying
from tests.support.notice_receivers import NOW, TestLinks, confirmation, destination_at, digest, single

TEXT = MailText("subject", "plain\n", "<p>html</p>")


def _reader(address: str = "admin@contoso.example", **changes: Any) -> Destination:
    return destination_at(address, DestinationKind.MAIL, **changes)


@contextlib.asynccontextmanager
async def _channel(relay: Relay, sender: Sender = SENDER, **options: Any) -> Any:
    channel = MailChannel(relay, sender, links=TestLinks(), **options)
    try:
        yield channel
    finally:
        await channel.close()


def _sent(
    handler: Handler, message: Message | None = None, destination: Destination | None = None, **options: Any
) -> Outcome:
    sender = options.pop("sender", SENDER)
    given = {name: options.pop(name) for name in ("bounce_token",) if name in options}

    async def run() -> Outcome:
        async with relaying(handler) as relay, _channel(relay._replace(**options), sender, **given) as channel:
            outcome = await channel.send(destination or _reader(), message or single())
            assert isinstance(outcome, Outcome)
            return outcome

    return asyncio.run(run())


def _letter(message: Message, destination: Destination | None = None, **options: Any) -> tuple[EmailMessage, Envelope]:
    handler = Handler()
    assert _sent(handler, message, destination, **options).kind == OutcomeKind.DELIVERED
    return handler.letters[0], handler.envelopes[0]


def test_a_mail_has_the_headers_that_machines_and_people_look_for() -> None:
    mail, envelope = _letter(single(detected_at=NOW)._replace(token="t0ken"))
    assert mail["From"] == "Transport enforcement <tes@notices.example>"
    assert mail["To"] == "admin@contoso.example"
    assert mail["Subject"] == "Enforcement of mx1.contoso.com has become stricter"
    assert mail["Message-ID"] == "<m-1@notices.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe"] == "<https://report.example/unsubscribe?token=t0ken>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Date"].datetime.timestamp() == NOW // 1000
    assert mail["In-Reply-To"] == mail["References"]
    assert mail["Precedence"] is None
    assert mail["Reply-To"] is None
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert (envelope.mail_from, envelope.rcpt_tos) == ("tes@notices.example", ["admin@contoso.example"])


def test_mails_of_one_episode_of_a_server_are_one_thread() -> None:
    first, later = single(detected_at=NOW), single(detected_at=NOW, kind="SERVER_RESOLVED")._replace(message_id="m-9")
    one, two = _letter(first)[0], _letter(later)[0]
    assert one["References"] == two["References"]
    assert one["Message-ID"] != two["Message-ID"]
    for other in (single(detected_at=NOW + 1), single(detected_at=NOW, server="mx2.contoso.com")):
        assert _letter(other)[0]["References"] != one["References"]
    for other in (single(), single(server=None, detected_at=NOW), digest(2, detected_at=NOW)):
        assert _letter(other)[0]["References"] is None


def test_a_mail_that_is_sent_again_has_the_same_bytes() -> None:
    written = {
        write_letter(SENDER, _reader(), single()._replace(attempt=attempt), TEXT, "https://u.example/").content
        for attempt in (1, 2, 3)
    }
    assert len(written) == 1


def test_a_question_whether_mail_is_wanted_has_nothing_to_end() -> None:
    mail, _ = _letter(confirmation("t0ken"), _reader(name="Buy pills at http://spam.example"))
    assert mail["List-Unsubscribe"] is None
    content = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "https://report.example/confirm?token=t0ken" in content
    assert "pills" not in mail.as_string()


def test_answers_and_bounces_go_where_the_settings_say() -> None:
    sender = Sender("", SENDER.address, MailAddress("help", "contoso.example"), "bounces.example")
    mail, envelope = _letter(
        single(), sender=sender, bounce_token=lambda destination: f"{destination.destination_id}-s"
    )
    assert mail["Reply-To"] == "help@contoso.example"
    assert envelope.mail_from == "bounce+d-1-s@bounces.example"
    assert mail["From"] == "tes@notices.example"


HEADERS = {"from", "to", "subject", "date", "message-id", "auto-submitted", "x-auto-response-suppress", "mime-version",
           "list-unsubscribe", "list-unsubscribe-post", "content-type", "in-reply-to", "references"}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["mx\r\nBcc: victim@example.com", "mx\nX: 1", "mx\rX: 1", "mx\u2028X: 1", "mx\u0085X: 1", "mx\x0bX",
     "=?utf-8?q?a=0ABcc?=",
     "\u202egro.osotnoc", "mx\x00", "<script>alert(1)</script>", "a" * 100_000, "ü" * 100_000, "\U0001f600" * 5_000],
)  # fmt: skip
def test_no_name_makes_a_header_or_markup(name: str) -> None:
    for message in (single(server=name), single(kind="UNKNOWN", title=name, text=name), digest(3, server=name)):
        mail, envelope = _letter(message, _reader(name=name))
        assert {key.lower() for key in mail} <= HEADERS
        assert envelope.rcpt_tos == ["admin@contoso.example"]
        assert len(mail["Subject"]) <= 150
        assert not set(mail["Subject"]) & set("\r\n\x00\u202e\u2028\x85\x0b")
        html = mail.get_body(("html",)).get_content()  # type: ignore[union-attr]
        assert "<script>" not in html
        assert "\u202e" not in html
        assert len(mail.as_bytes()) < 200_000


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_makes_a_letter_of_the_same_headers(name: str, text: str) -> None:
    message, subject = single(), MailText(text.replace("\n", " ").replace("\r", " "), text, None)
    try:
        destination = _reader(name + "@contoso.example")
        letter = write_letter(SENDER, destination, message, subject, "")
    except (MailAddressError, UnicodeEncodeError):
        return
    assert letter.content.partition(b"\r\n\r\n")[0].lower().count(b"\nto:") == 1


@pytest.mark.parametrize(
    "address",
    ["", "a", "@b.example", "a@", "a@b", "a@b.example\r\nRCPT TO:<c@d.example>", "a b@c.example", "<a@b.example>",
     "a@b.example, c@d.example", "a@[127.0.0.1]", "a@127.0.0.1", '"a"@b.example', "a..b@c.example", ".a@b.example",
     "a@b..example", "a@-b.example", "a@b.example.", "a" * 65 + "@b.example", "a@" + "b" * 64 + ".example",
     "a@b.example>", "a\u202e@b.example", "a\x00@b.example", "a@b@c.example", "a@b.example SIZE=1",
     "a@" + "b." * 200 + "c"],
)  # fmt: skip
def test_what_is_no_address_is_gone_before_any_relay_is_asked(address: str) -> None:
    handler = Handler()
    outcome = _sent(handler, destination=_reader(address))
    assert outcome.kind == OutcomeKind.GONE
    assert handler.stages == []


@pytest.mark.parametrize(
    ("address", "expected", "needs_utf8"),
    [("admin@contoso.example", "admin@contoso.example", False),
     ("first.last+tag@sub.contoso.example", "first.last+tag@sub.contoso.example", False),
     ("admin@bücher.example", "admin@xn--bcher-kva.example", False),
     ("jürgen@bücher.example", "jürgen@xn--bcher-kva.example", True),
     ("用户@例子.example", "用户@xn--fsqu00a.example", True)],
)  # fmt: skip
def test_addresses_of_any_script_are_taken(address: str, expected: str, needs_utf8: bool) -> None:
    parsed = parse_address(address)
    assert (str(parsed), parsed.needs_utf8) == (expected, needs_utf8)
    _, envelope = _letter(single(), _reader(address))
    assert envelope.rcpt_tos == [expected]
    assert ("SMTPUTF8" in envelope.mail_options) == needs_utf8
    assert isinstance(envelope.content, bytes)
    assert f"To: {expected}\r\n".encode() in envelope.content


def test_an_address_outside_ascii_waits_for_a_relay_that_takes_it() -> None:
    async def run() -> Outcome:
        async with relaying(Handler(), enable_SMTPUTF8=False) as relay, _channel(relay) as channel:
            outcome = await channel.send(_reader("jürgen@contoso.example"), single())
            assert isinstance(outcome, Outcome)
            return outcome

    outcome = asyncio.run(run())
    assert outcome.kind == OutcomeKind.FAILED
    assert "SMTPUTF8" in outcome.why


def test_the_sender_is_a_name_and_an_address() -> None:
    assert parse_sender("Contoso <tes@contoso.example>") == ("Contoso", MailAddress("tes", "contoso.example"))
    assert parse_sender("tes@contoso.example") == ("", MailAddress("tes", "contoso.example"))
    with pytest.raises(MailAddressError):
        parse_sender("Contoso")


@pytest.mark.parametrize(
    ("stage", "answer", "kind", "code"),
    [
        ("mail", "550 5.1.8 sender rejected", OutcomeKind.CHANNEL_AWAY, 550),
        ("mail", "451 4.3.0 try again", OutcomeKind.CHANNEL_AWAY, 451),
        ("mail", "421 4.3.2 closing", OutcomeKind.CHANNEL_AWAY, 421),
        ("rcpt", "550 5.1.1 no such user", OutcomeKind.GONE, 550),
        ("rcpt", "553 5.1.3 bad address", OutcomeKind.GONE, 553),
        ("rcpt", "550 no such user", OutcomeKind.GONE, 550),
        ("rcpt", "554 5.7.1 Relay access denied", OutcomeKind.FAULT, 554),
        (
            "rcpt",
            "504 5.5.2 <tes-notify-0>: Helo command rejected: need a full name",
            OutcomeKind.FAULT,
            504,
        ),
        ("rcpt", "550 5.1.0 <tes@notices.example>: Sender address rejected: User unknown", OutcomeKind.FAILED, 550),
        ("rcpt", "550 5.1.8 <tes@notices.example>: Sender address rejected: not found", OutcomeKind.FAILED, 550),
        ("rcpt", "503 bad sequence of commands", OutcomeKind.FAULT, 503),
        ("rcpt", "554 no SMTP service here", OutcomeKind.FAILED, 554),
        ("rcpt", "550 5.1.10 no such recipient", OutcomeKind.GONE, 550),
        ("rcpt", "530 5.7.0 Authentication required", OutcomeKind.FAULT, 530),
        ("rcpt", "450 4.2.0 greylisted", OutcomeKind.FAILED, 450),
        ("rcpt", "421 4.3.2 closing", OutcomeKind.CHANNEL_AWAY, 421),
        ("data", "554 5.6.0 content", OutcomeKind.REFUSED, 554),
        ("data", "552 5.3.4 too big", OutcomeKind.REFUSED, 552),
        ("data", "451 4.3.0 try again", OutcomeKind.FAILED, 451),
        ("data", "421 4.3.2 closing", OutcomeKind.CHANNEL_AWAY, 421),
    ],
)
def test_each_answer_of_a_relay_has_its_outcome(stage: str, answer: str, kind: OutcomeKind, code: int) -> None:
    outcome = _sent(Handler(**{stage: answer}))
    assert (outcome.kind, outcome.code) == (kind, code)
    assert answer in outcome.why


def test_what_a_relay_answers_is_shown_with_every_character_visible_and_bounded() -> None:
    outcome = _sent(Handler(rcpt="550 5.1.1 " + "\x1b[31mx" * 60))
    assert len(outcome.why) <= 300
    assert "\x1b" not in outcome.why


class _Dropping(Handler):
    """Ends the connection at a stage, without an answer."""

    def __init__(self, stage: str, times: int = 1_000) -> None:
        super().__init__()
        self.stage, self.times = stage, times

    def _drop(self, server: SMTP, stage: str) -> None:
        if stage == self.stage and self.times:
            self.times -= 1
            drop(server)

    async def handle_MAIL(self, server: SMTP, *rest: Any) -> str:  # noqa: N802
        self._drop(server, "mail")
        return await super().handle_MAIL(server, *rest)

    async def handle_RCPT(self, server: SMTP, *rest: Any) -> str:  # noqa: N802
        self._drop(server, "rcpt")
        return await super().handle_RCPT(server, *rest)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = await super().handle_DATA(server, session, envelope)
        self._drop(server, "data")
        return answer


@pytest.mark.parametrize(
    ("stage", "kind"),
    [("mail", OutcomeKind.CHANNEL_AWAY), ("rcpt", OutcomeKind.FAILED), ("data", OutcomeKind.FAILED)],
)
def test_a_connection_that_drops_has_its_outcome(stage: str, kind: OutcomeKind) -> None:
    assert _sent(_Dropping(stage)).kind == kind


def test_a_mail_whose_answer_was_lost_is_sent_again_under_the_same_id() -> None:
    handler = _Dropping("data", times=1)

    async def run() -> list[OutcomeKind]:
        async with relaying(handler) as relay, _channel(relay) as channel:
            return [(await channel.send(_reader(), single(detected_at=NOW))).kind for _ in range(2)]

    assert asyncio.run(run()) == [OutcomeKind.FAILED, OutcomeKind.DELIVERED]
    first, second = handler.letters
    assert first["Message-ID"] == second["Message-ID"]
    assert first.as_bytes() == second.as_bytes()


async def _never() -> str:
    await asyncio.sleep(3_600)
    return ""


@pytest.mark.parametrize(
    ("stage", "kind"),
    [("mail", OutcomeKind.CHANNEL_AWAY), ("rcpt", OutcomeKind.FAILED), ("data", OutcomeKind.FAILED)],
)
def test_a_relay_that_hangs_at_a_stage_has_its_outcome(stage: str, kind: OutcomeKind) -> None:
    assert _sent(Handler(**{stage: _never}), timeout_seconds=0.5).kind == kind


def test_a_relay_that_is_slow_over_a_letter_is_no_fault_of_ours() -> None:
    """A sender that ends the wait takes it for a fault, which is tried again for a week: each time one more mail."""
    found = _sent(Handler(data=_never), letter_seconds=0.5)
    assert (found.kind, found.why[:24]) == (OutcomeKind.FAILED, "the relay takes too long")
    usual = Relay("127.0.0.1", 25, TlsMode.NONE, "notify.example")
    assert usual.wait_seconds + usual.letter_seconds < SEND_SECONDS


def test_a_relay_that_cannot_be_reached_or_says_nothing_is_away() -> None:
    with socket.socket() as silent, socket.socket() as dead:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        dead.bind(("127.0.0.1", 0))

        async def run(port: int) -> Outcome:
            relay = Relay("127.0.0.1", port, TlsMode.NONE, "notify.example", timeout_seconds=0.5)
            async with _channel(relay) as channel:
                outcomes = await asyncio.gather(*(channel.send(_reader(), single()) for _ in range(20)))
            assert {one.kind for one in outcomes} == {OutcomeKind.CHANNEL_AWAY}
            return outcomes[0]  # type: ignore[no-any-return]

        assert "refused" in asyncio.run(run(dead.getsockname()[1])).why
        assert "in time" in asyncio.run(run(silent.getsockname()[1])).why


def test_a_relay_that_greets_with_a_refusal_is_away() -> None:
    async def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 5.7.1 not you\r\n")
        await writer.drain()
        writer.close()

    async def run() -> Outcome:
        server = await asyncio.start_server(turn_away, "127.0.0.1", 0)
        relay = Relay("127.0.0.1", server.sockets[0].getsockname()[1], TlsMode.NONE, "notify.example")
        async with _channel(relay) as channel:
            outcome = await channel.send(_reader(), single())
        server.close()
        assert isinstance(outcome, Outcome)
        return outcome

    outcome = asyncio.run(run())
    assert (outcome.kind, outcome.code) == (OutcomeKind.CHANNEL_AWAY, 554)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server, and of a client that trusts it."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    files: tuple[Path, Path] = authority.certificate("relay")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*files)
    return server, ssl.create_default_context(cafile=str(authority.file))


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("tls", [TlsMode.STARTTLS, TlsMode.TLS])
def test_an_encrypted_relay_is_checked_and_signed_in_at(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], tls: TlsMode
) -> None:
    served, trusted = contexts
    secret = ["s3cret"]

    async def run() -> None:
        handler = Handler()
        options = {"authenticator": password_is("s3cret"), "auth_required": True, "auth_require_tls": False}
        async with relaying(handler, tls, served, **options) as relay:
            relay = relay._replace(user="tes", password=lambda: secret[0])

            async def outcome(changed: Relay) -> Outcome:
                async with _channel(changed) as channel:
                    given = await channel.send(_reader(), single())
                    assert isinstance(given, Outcome)
                    return given

            assert (await outcome(relay._replace(trust=trusted))).kind == OutcomeKind.DELIVERED
            untrusted = await outcome(relay)
            assert untrusted.kind == OutcomeKind.CHANNEL_AWAY
            assert "certificate" in untrusted.why
            assert (await outcome(relay._replace(trust=trusted, user=""))).kind == OutcomeKind.CHANNEL_AWAY
            secret[0] = "wrong"
            refused = await outcome(relay._replace(trust=trusted))
            assert (refused.kind, refused.code) == (OutcomeKind.CHANNEL_AWAY, 535)
            assert "wrong" not in refused.why

    asyncio.run(run())


def test_starttls_is_never_left_out_because_a_relay_does_not_offer_it() -> None:
    async def run() -> None:
        handler = Handler()
        async with relaying(handler) as relay, _channel(relay._replace(tls=TlsMode.STARTTLS)) as channel:
            assert (await channel.send(_reader(), single())).kind == OutcomeKind.CHANNEL_AWAY
            assert handler.stages == []

    asyncio.run(run())


def test_many_letters_share_a_few_connections_and_none_is_kept() -> None:
    handler = Handler()

    async def run() -> None:
        async with relaying(handler) as relay, _channel(relay._replace(connections=3)) as channel:
            outcomes = await asyncio.gather(*(channel.send(_reader(), single()) for _ in range(450)))
            assert {one.kind for one in outcomes} == {OutcomeKind.DELIVERED}
            assert handler.connections <= 8
            await channel.send(_reader(), single())
            assert handler.connections > 3

    asyncio.run(run())
    assert len(handler.letters) == 451


def test_a_relay_that_ends_connections_after_some_letters_gets_all() -> None:
    class Limited(Handler):
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
            answer = await super().handle_DATA(server, session, envelope)
            asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, drop, server)
            return answer

    handler = Limited()

    async def run() -> None:
        async with relaying(handler) as relay, _channel(relay._replace(connections=2)) as channel:
            outcomes = await asyncio.gather(*(channel.send(_reader(), single()) for _ in range(10)))
            assert {one.kind for one in outcomes} == {OutcomeKind.DELIVERED}

    asyncio.run(run())
    assert len(handler.letters) == 10


def test_a_refused_recipient_costs_the_others_of_the_batch_nothing() -> None:
    class Picky(Handler):
        async def handle_RCPT(self, server: SMTP, s: Session, e: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
            if address.startswith("gone"):
                return "550 5.1.1 no such user"
            return await super().handle_RCPT(server, s, e, address, options)

    handler = Picky()

    async def run() -> None:
        async with relaying(handler) as relay, _channel(relay._replace(connections=1)) as channel:
            names = ["gone", "a", "gone", "b", "c"]
            outcomes = await asyncio.gather(*(channel.send(_reader(f"{n}@contoso.example"), single()) for n in names))
            assert [one.kind == OutcomeKind.GONE for one in outcomes] == [n == "gone" for n in names]

    asyncio.run(run())
    assert (len(handler.letters), handler.connections) == (3, 1)


def test_a_letter_that_is_cancelled_while_it_waits_is_not_sent() -> None:
    gate = asyncio.Event()

    async def wait() -> str:
        await gate.wait()
        return "250 Ok"

    handler = Handler(data=wait)

    async def run() -> None:
        async with relaying(handler) as relay, _channel(relay._replace(connections=1)) as channel:
            tasks = [asyncio.create_task(channel.send(_reader(), single())) for _ in range(3)]
            while not handler.letters:
                await asyncio.sleep(0.01)
            tasks[1].cancel()
            gate.set()
            assert (await tasks[0]).kind == (await tasks[2]).kind == OutcomeKind.DELIVERED

    asyncio.run(run())
    assert len(handler.letters) == 2


def test_a_relay_that_is_slow_is_no_failure_of_those_that_wait_for_it() -> None:
    gate = asyncio.Event()

    async def wait() -> str:
        await gate.wait()
        return "250 Ok"

    handler = Handler(data=wait)

    async def run() -> None:
        async with relaying(handler) as relay, _channel(relay._replace(connections=1, wait_seconds=0.5)) as channel:
            first = asyncio.create_task(channel.send(_reader(), single()))
            while not handler.letters:
                assert not first.done()
                await asyncio.sleep(0.01)
            assert (await channel.send(_reader(), single())).kind == OutcomeKind.CHANNEL_AWAY
            gate.set()
            assert (await first).kind == OutcomeKind.DELIVERED

    asyncio.run(run())
    assert len(handler.letters) == 1


def test_a_channel_that_closes_leaves_nobody_waiting() -> None:
    handler = Handler(data=_never)

    async def run() -> None:
        async with relaying(handler) as relay:
            channel = MailChannel(relay._replace(connections=1), SENDER, links=TestLinks())
            tasks = [asyncio.create_task(channel.send(_reader(), single())) for _ in range(3)]
            while not handler.letters:
                await asyncio.sleep(0.01)
            await channel.close()
            assert {(await task).kind for task in tasks} == {OutcomeKind.CHANNEL_AWAY}

    asyncio.run(run())
