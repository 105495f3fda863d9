"""What an MTA is answered, frame by frame, and what the service is told of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from streams.domain.exchange.build import parse_build
from streams.domain.policy.policy import ConnectorType
from streams.edge.client import Answer, Client, Connector
from streams.edge.milter.codec import ProtocolError
from streams.edge.milter.session import MAX_LINES, Session
from tests.support.door import CONNECTOR, Doorway, standing_verdict
from tests.support.milter import (
    LINE,
    OLD_LINE,
    Dialogue,
    MilterTold,
    connect,
    frame,
    greeting,
    macros,
    message,
    offer,
    strings,
)

HOST, GOOD = "mx1.example.com", "15.1.2507.61"
NO = [("y", b"550 5.7.230 no\0")]


def blocked(**options: bool) -> Doorway:
    doorway = Doorway(**options)
    doorway.verdicts.put(standing_verdict(HOST, required_build=parse_build(GOOD)))
    return doorway


def client_of(dialogue: Dialogue) -> Client | None:
    """The client of the message that is under way."""
    return dialogue.session._client


def door_with(dialogue: Dialogue, **methods: Callable[..., Any]) -> SimpleNamespace:
    """The door of a dialogue, but for some of its methods."""
    names = ("connector_of", "answer_mail", "answer_message")
    return SimpleNamespace(**{name: getattr(dialogue.doorway.door, name) for name in names} | methods)


def named(**values: str) -> bytes:
    return macros(b"C", {f"{{tes_{name}}}".encode(): value.encode() for name, value in values.items()})


def test_a_message_is_answered_at_the_end_of_its_headers_and_told() -> None:
    dialogue = Dialogue(blocked())
    assert dialogue.send(*message()[:-1]) == [("c", b"")] * 2
    assert dialogue.send(macros(b"N", {b"i": b"4XyZ"}), frame(b"N")) == NO
    (event,) = dialogue.doorway.told
    assert (event.source_ip, event.helo, event.recipients) == ("192.0.2.1", HOST, 1)
    assert event.received == (OLD_LINE.decode(),)


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ((6, 0x1FF, 0x1FFFFF), (6, 0, 0x390)),
        ((6, 0x1FF, 0x7F), (6, 0, 0x10)),
        ((2, 0x3F, 0x7F), (2, 0, 0x10)),
        ((9, 0xFFFFFFFF, 0xFFFFFFFF), (6, 0, 0x390)),
        ((4, 0, 0), (4, 0, 0)),
    ],
)
def test_no_more_is_asked_for_than_the_mta_offers(offered: tuple[int, int, int], taken: tuple[int, int, int]) -> None:
    for adds_header in (False, True):
        actions = offered[1] & 1 if adds_header else 0
        dialogue = Dialogue(Doorway(adds_header=adds_header), is_raw=True)
        expected = struct.pack(">III", taken[0], actions, taken[2])
        assert dialogue.send(offer(*offered)) == [("O", expected)]


def test_an_mta_that_leaves_nothing_out_is_answered_frame_by_frame() -> None:
    dialogue = Dialogue(Doorway(is_enforcing=False, adds_header=True), offered=offer(6, 1, 0))
    assert dialogue.verbs(strings(b"U", b"NOOP")) == "c"
    assert dialogue.verbs(*message([OLD_LINE] * 3)[:2], frame(b"T")) == "ccc"
    assert dialogue.verbs(*message([OLD_LINE] * 3)[2:]) == "cccc"
    assert dialogue.verbs(frame(b"B", b"x" * 65_535), frame(b"B", b""), frame(b"E")) == "ccha"


def test_the_headers_need_no_answer_where_the_mta_wants_none() -> None:
    assert Dialogue(blocked()).verbs(*message([OLD_LINE] * 100)) == "ccy"


def test_only_received_lines_and_the_message_id_are_kept_with_the_topmost_line_first() -> None:
    dialogue = Dialogue()
    mail, recipient, *_ = message()
    dialogue.send(mail, recipient, recipient)
    folded = OLD_LINE.replace(b" with", b"\n\twith")
    for name, value in (
        (b"RECEIVED", folded),
        (b"Subject", b"x"),
        (b"Re\xe7u", b"y"),
        (b"received", LINE % b"15.1.1.1" + b"\xff\xe7"),
        (b"message-id", b" <1@example.com> "),
        (b"Message-ID", b"<2@example.com>"),
        (b"X-Received", b"z"),
    ):
        dialogue.send(strings(b"L", name, value))
    assert dialogue.verbs(frame(b"N")) == "a"
    (event,) = dialogue.doorway.told
    assert event.received == (folded.decode(), (LINE % b"15.1.1.1").decode() + "\ufffd\ufffd")
    assert (event.message_id, event.recipients) == ("<1@example.com>", 2)


def test_ten_thousand_lines_cost_no_more_than_those_that_are_kept() -> None:
    dialogue = Dialogue(blocked())
    junk = [strings(b"L", b"X-Junk", b"x" * 100)] * 10_000
    mail, recipient, line, end = message()
    assert dialogue.send(mail, recipient, *junk, *[line] * 10_000) == [("c", b"")] * 2
    assert len(dialogue.session._message._received) == MAX_LINES
    assert dialogue.send(end) == NO
    assert len(dialogue.doorway.told[0].received) == 256


def test_lines_beyond_a_mebibyte_are_not_kept() -> None:
    dialogue = Dialogue(blocked())
    long = strings(b"L", b"Received", OLD_LINE + b" " + b"x" * 600_000)
    mail, recipient, _, end = message()
    assert dialogue.send(mail, recipient, long, long, long, end) == [("c", b"")] * 2 + NO
    assert len(dialogue.doorway.told[0].received) == 1


def test_many_messages_of_one_connection_are_apart() -> None:
    dialogue = Dialogue(blocked())
    assert dialogue.verbs(macros(b"N", {b"i": b"A"}), *message(recipients=2)) == "cccy"
    assert dialogue.verbs(*message([LINE % GOOD.encode()], recipients=0)) == "ca"
    assert [(len(event.received), event.recipients) for event in dialogue.doorway.told] == [(1, 2), (1, 0)]


def test_the_queue_id_is_of_one_message() -> None:
    ids = []
    for _ in range(2):
        dialogue = Dialogue()
        for queue_id in (b"A", None, None, b"A", b"A"):
            given = [] if queue_id is None else [macros(b"T", {b"i": queue_id})] * 2
            mail, *rest = message()
            dialogue.send(mail, *given, *rest)
        ids.append([event.event_id for event in dialogue.doorway.told])
    first, second = ids
    assert first[0] == first[3] == first[4] == second[0]
    assert len({first[1], first[2], second[1], second[2]}) == 4


def test_an_aborted_message_is_forgotten_and_the_connection_goes_on() -> None:
    dialogue = Dialogue(blocked())
    assert dialogue.verbs(*message()[:-1], frame(b"A"), frame(b"A")) == "cc"
    assert dialogue.doorway.told == []
    assert dialogue.verbs(*message()) == "ccy"
    assert len(dialogue.doorway.told[0].received) == 1


def test_a_connection_can_be_used_for_another_client() -> None:
    dialogue = Dialogue()
    dialogue.send(named(tenant="fabrikam", connector="c9"), *message(), frame(b"K"))
    assert dialogue.verbs(connect(b"198.51.100.7"), greeting(b"other.example"), *message()) == "cc" + "cca"
    first, second = dialogue.doorway.told
    assert (first.tenant_id, first.source_ip) == ("fabrikam", "192.0.2.1")
    assert (second.tenant_id, second.source_ip, second.helo) == ("contoso", "198.51.100.7", "other.example")


def test_the_end_is_the_end() -> None:
    dialogue = Dialogue()
    assert dialogue.send(frame(b"Q")) == []
    assert dialogue.session.is_finished


def test_all_frames_of_a_connection_may_come_at_once() -> None:
    dialogue = Dialogue(blocked(), is_raw=True)
    sent = [offer(), connect(), greeting(), greeting(), *message(), frame(b"A"), *message(), frame(b"Q")]
    assert dialogue.verbs(*sent) == "Occc" + "ccy" + "ccy"


@pytest.mark.parametrize(
    ("address", "family", "found"),
    [
        (b"IPv6:2001:DB8::1", b"6", "2001:db8::1"),
        (b"2001:db8:0:0::1", b"6", "2001:db8::1"),
        (b"ipv6:::ffff:192.0.2.9", b"6", "192.0.2.9"),
        (b"fe80::1%eth0", b"6", "fe80::1"),
        (b"192.0.2.1", b"4", "192.0.2.1"),
    ],
)
def test_every_spelling_of_an_address_is_one(address: bytes, family: bytes, found: str) -> None:
    dialogue = Dialogue(is_raw=True)
    assert dialogue.verbs(offer(), connect(address, family), *message()) == "Oc" + "cca"
    assert dialogue.doorway.told[0].source_ip == found


@pytest.mark.parametrize("sent", [connect(b"/run/x", b"L"), frame(b"C", b"unknown\0U")])
def test_a_client_without_an_address_is_none_of_ours(sent: bytes) -> None:
    dialogue = Dialogue(is_raw=True)
    assert dialogue.verbs(offer(), sent) == "Oa"
    # An MTA that asks all the same has the same answer.
    assert dialogue.verbs(greeting(), strings(b"M", b"<>")) == "ca"
    assert (dialogue.doorway.told, dialogue.told.reasons) == ([], [])


def test_an_address_that_is_none_is_said() -> None:
    dialogue = Dialogue(is_raw=True)
    assert dialogue.verbs(offer(), connect(b"\xff.1")) == "Oa"
    assert dialogue.told.reasons == ["address: '\ufffd.1': must be an IPv4 or IPv6 address"]


def test_a_client_of_no_connector_is_accepted_at_once_and_not_told() -> None:
    dialogue = Dialogue(blocked())
    dialogue.doorway.connectors.connector = None
    assert dialogue.verbs(*message()[:1]) == "a"
    assert (dialogue.doorway.told, dialogue.doorway.telemetry.unmatched_messages) == ([], 1)


@pytest.mark.parametrize(
    "name", [b"xn--a.org", b"\xff\xfe.example", "größe.example".encode(), b"", b"[192.0.2.1]", b"\x01"]
)
def test_no_greeting_lets_a_client_out(name: bytes) -> None:
    dialogue = Dialogue(blocked(), is_raw=True)
    hostile = {b"{client_name}": "größe".encode(), b"\xff": b"\x80"}
    assert dialogue.verbs(offer(), macros(b"C", hostile), connect(), greeting(name), *message()) == "Occccy"


def test_a_verdict_of_hostile_text_is_one_line() -> None:
    doorway = Doorway()
    template = "550 5.7.230 100% %s\r\n250 2.0.0 forged\nß\0" + "x" * 3000
    doorway.verdicts.put(standing_verdict(HOST, smtp_template_block=template))
    *_, (command, content) = Dialogue(doorway).send(*message())
    assert (command, content[:46]) == ("y", b"550 5.7.230 100%% %%s??250 2.0.0 forged???xxxx")
    assert len(content.replace(b"%%", b"%")) == 510 + 1


def test_a_client_is_answered_at_mail_after_three_messages_of_one_server() -> None:
    dialogue = Dialogue(blocked())
    assert [dialogue.verbs(*message()) for _ in range(3)] == ["ccy"] * 3
    assert dialogue.send(*message()[:1]) == NO
    assert dialogue.verbs(*message()[:1]) == "y"
    assert len(dialogue.doorway.told) == 3


def test_what_the_mta_says_goes_before_the_connectors() -> None:
    dialogue = Dialogue()
    dialogue.send(named(tenant="fabrikam", connector="c9", connector_type="PARTNER"), *message()[:1])
    assert dialogue.session._connector == Connector("fabrikam", "c9", ConnectorType.PARTNER)
    dialogue.send(named(tenant="fabrikam", connector="c9"), *message()[:1])
    assert dialogue.session._connector == Connector("fabrikam", "c9")
    dialogue.send(named(), *message()[:1])
    assert dialogue.session._connector == CONNECTOR


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tenant": "a/b", "connector": "c"}, "{tes_tenant}: tenant_id: 'a/b': must match"),
        ({"connector": "c"}, "{tes_tenant}: tenant_id: '': must match"),
        ({"connector_type": "PARTNER"}, "{tes_tenant}: tenant_id: '': must match"),
        ({"tenant": "a"}, "{tes_connector}: connector_id: '': must be 1 to 255 printable characters"),
        ({"tenant": "a", "connector": "\x1b"}, r"connector_id: '\x1b': must be 1 to 255 printable characters"),
        ({"tenant": "a", "connector": "c" * 256}, "must be 1 to 255 printable characters"),
        (
            {"tenant": "a", "connector": "c", "connector_type": "partner"},
            "{tes_connector_type}: 'partner': must be one of ON_PREMISES, PARTNER",
        ),
        (
            {"tenant": "a", "connector": "c", "connector_type": "NONE"},
            "{tes_connector_type}: 'NONE': must be one of ON_PREMISES, PARTNER",
        ),
    ],
)
def test_a_client_that_the_mta_names_wrongly_is_none_of_ours_and_said(values: dict[str, str], reason: str) -> None:
    dialogue = Dialogue(blocked())
    assert dialogue.verbs(named(**values), *message()[:1]) == "a"
    (said,) = dialogue.told.reasons
    assert reason in said
    assert dialogue.doorway.told == []


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({b"{cert_subject}": b"mail.example.com"}, "mail.example.com"),
        ({b"cert_subject": "größe".encode()}, "größe"),
        ({b"{cert_subject}": b"/C=US/CN=mail.example.com"}, None),
        ({b"{cert_subject}": b"/CN=x", b"{verify}": b"NO", b"{cn_subject}": b"x"}, None),
        ({b"{cert_subject}": b"/CN=x", b"{verify}": b"OK", b"{cn_subject}": b"x"}, "x"),
        ({}, None),
    ],
)
def test_only_a_trusted_certificate_names_a_client(given: dict[bytes, bytes], subject: str | None) -> None:
    dialogue = Dialogue()
    # The second greeting is the one behind STARTTLS.
    dialogue.send(macros(b"H", given), greeting(), *message()[:1])
    client = client_of(dialogue)
    assert client is not None
    assert (client.tls_subject, client.tls_fingerprint) == (subject, None)


def test_a_fingerprint_is_in_one_spelling() -> None:
    for value, fingerprint in ((b"AB:cd:09", "abcd09"), (b"none", None), (b"", None)):
        dialogue = Dialogue()
        dialogue.send(macros(b"H", {b"{cert_fp}": value}), greeting(), *message()[:1])
        client = client_of(dialogue)
        assert client is not None
        assert client.tls_fingerprint == fingerprint


def test_report_mode_adds_its_header_at_the_end_of_the_body_and_nothing_else() -> None:
    dialogue = Dialogue(blocked(is_enforcing=False, adds_header=True))
    assert dialogue.verbs(*message()) == "ccc"
    header, accept = dialogue.send(frame(b"E"))
    assert accept == ("a", b"")
    assert header[0] == "h"
    assert header[1].startswith(b"X-TES\0action=BLOCK; cause=BLOCKED; build=15.1.2507.39; event=")
    assert dialogue.verbs(*message()) == "ccc"


def test_an_mta_that_takes_no_headers_gets_none() -> None:
    dialogue = Dialogue(blocked(is_enforcing=False, adds_header=True), offered=offer(6, 0))
    assert dialogue.verbs(*message()) == "cca"


def test_a_refused_message_has_no_header() -> None:
    assert Dialogue(blocked(adds_header=True)).verbs(*message()) == "ccy"


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([connect()], "command C: out of order"),
        ([macros(b"C", {})], "command D: out of order"),
        ([frame(b"A")], "command A: out of order"),
        ([offer(), offer()], "command O: out of order"),
        ([offer(), greeting()], "command H: out of order"),
        ([offer(), strings(b"M", b"<>")], "command M: out of order"),
        ([offer(), connect(), connect()], "command C: out of order"),
        ([offer(), connect(), strings(b"R", b"<>")], "command R: out of order"),
        ([offer(), connect(), frame(b"N")], "command N: out of order"),
        ([offer(), connect(), frame(b"E")], "command E: out of order"),
        ([offer(), connect(), *message(), frame(b"N")], "command N: out of order"),
        ([offer(), connect(), strings(b"M", b"<>"), frame(b"B")], "command B: out of order"),
        ([frame(b"X")], "command 0x58: unknown"),
        ([frame(b"\xff")], "command 0xff: unknown"),
        ([offer(), connect(), frame(b"M", b"<>")], "a string without its end"),
        ([offer(), connect(), strings(b"M", b"<>"), frame(b"R")], "a string without its end"),
        ([offer(), connect(), frame(b"H", b"x")], "a string without its end"),
    ],
)
def test_what_is_not_the_protocol_is_said(frames: list[bytes], reason: str) -> None:
    dialogue = Dialogue(is_raw=True)
    with pytest.raises(ProtocolError, match=reason):
        dialogue.send(*frames)


@pytest.mark.parametrize("command", [b"M", b"N"])
def test_a_fault_accepts_the_message_and_the_connection_goes_on(
    command: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialogue = Dialogue(blocked())
    fault = RuntimeError("boom")

    def fail(*_: object) -> None:
        raise fault

    name = {b"M": "answer_mail", b"N": "answer_message"}[command]
    with monkeypatch.context() as patched:
        patched.setattr(dialogue.session, "_door", door_with(dialogue, **{name: fail}))
        assert dialogue.verbs(*message()[: 1 if command == b"M" else None])[-1] == "a"
    assert dialogue.told.failures == [("milter", fault)]
    assert dialogue.verbs(*message()) == "ccy"


@pytest.mark.parametrize("command", [b"D", b"L"])
def test_a_fault_where_no_answer_is_awaited_has_none(command: bytes) -> None:
    dialogue = Dialogue(blocked())
    assert dialogue.verbs(macros(b"M", {}), *message()[:-1]) == "cc"
    # No frame provokes such a fault, and compiled functions cannot be replaced.
    assert dialogue.session._accept_after_fault(command[0]) == b""
    assert dialogue.verbs(frame(b"N")) == "y"


def test_a_reply_that_smtp_cannot_carry_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    dialogue = Dialogue(blocked())
    door = door_with(dialogue, answer_message=lambda *_: Answer("250 2.0.0 Ok"))
    monkeypatch.setattr(dialogue.session, "_door", door)
    assert dialogue.verbs(*message()) == "cca"
    ((where, error),) = dialogue.told.failures
    assert (where, str(error)) == ("reply", "no reply of SMTP that delays or refuses: '250 2.0.0 Ok'")


@pytest.mark.no_cover
def test_what_is_kept_of_a_connection_is_bounded() -> None:
    told = MilterTold()
    session = Session(Doorway().door, told)
    for item in (offer(), connect(), strings(b"H", b"h" * 1_000_000)):
        session.receive(item[4], item[5:])
    many = {b"%d" % number: b"x" for number in range(50_000)} | {b"{tes_tenant}": b"t" * 900_000}
    for command in range(256):
        session.receive(ord("D"), macros(bytes((command,)), many)[5:])
    kept = [value for values in session._macros.values() for value in values.values()]
    assert len(session._helo) + sum(map(len, kept)) < 40_000
    assert len(kept) < 20
