"""A real rspamd that asks the HTTP door, over HTTP and behind a real Postfix."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.support.http_door import BLOCKED, THROTTLED, answering, judging_doorway, served_http
from tests.support.mail import GOOD, HOST, OLD, Client, mail_of
from tests.support.postfix import Postfix
from tests.support.rspamd import Rspamd, running_rspamd
from tests.support.waiting import until_true

CLIENT = {"IP": "192.0.2.1", "Helo": HOST, "From": "a@example.com", "Rcpt": "b@inbox.example", "Queue-Id": "4XyZ"}
ANSWER = json.dumps({"action": "reject", "reply": BLOCKED}).encode()
OTHER_ANSWERS = {
    "nothing": b"",
    "no HTTP": b"\0\xff" * 1000,
    "an error": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER,
    "no JSON": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    "a list": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    "no reply": b'HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n{"action":"reject","reply":null}',
}


@pytest.fixture(scope="module")
def rspamd() -> Iterator[Rspamd]:
    with running_rspamd() as running:
        yield running


@pytest.fixture(scope="module")
def port(rspamd: Rspamd, postfix: Postfix) -> int:
    """A port of Postfix with rspamd behind it."""
    return postfix.listen(rspamd.milter)


@pytest.mark.parametrize(
    ("is_blocking", "action", "reply"), [(True, "reject", BLOCKED), (False, "soft reject", THROTTLED)]
)
def test_the_action_and_the_words_are_the_doors(rspamd: Rspamd, is_blocking: bool, action: str, reply: str) -> None:
    doorway = judging_doorway(is_blocking=is_blocking)
    with served_http(rspamd.door, doorway) as told:
        found = rspamd.check(mail_of(), **CLIENT)
        assert (found["action"], found["messages"]) == (action, {"smtp_message": reply})
        assert rspamd.check(mail_of(GOOD), **CLIENT)["action"] == "no action"
    assert (told.statuses, told.failures) == ([], [])
    event = doorway.told[0]
    assert (event.source_ip, event.helo, event.recipients) == ("192.0.2.1", HOST, 1)
    assert event.message_id is not None
    assert event.message_id.strip("<>") == "1@example.com"


def test_every_line_of_the_client_is_told_topmost_first(rspamd: Rspamd) -> None:
    doorway = judging_doorway()
    message = b'Received: from "a\\b" by c;\r\n\tx \xe9\xff {"reply":"no"}\r\n' + mail_of()
    with served_http(rspamd.door, doorway) as told:
        rspamd.check(message, **CLIENT)
        rspamd.check(mail_of(None), **CLIENT)
    assert (told.statuses, told.failures) == ([], [])
    first, second = doorway.told
    odd, line = first.received
    assert odd == 'from "a\\b" by c; x ?? {"reply":"no"}'
    assert line.startswith(
        f"from {HOST} (192.0.2.1) by {HOST} (192.0.2.1) with Microsoft SMTP Server (version=TLS1_2, "
    )
    assert second.received == ()


@pytest.mark.parametrize(("is_blocking", "reply"), [(True, f"554 5.7.1 {BLOCKED}"), (False, f"451 4.7.1 {THROTTLED}")])
def test_behind_postfix_rspamd_puts_codes_of_its_own_before_the_reply(
    rspamd: Rspamd, port: int, is_blocking: bool, reply: str
) -> None:
    doorway = judging_doorway(is_blocking=is_blocking)
    with served_http(rspamd.door, doorway), Client(port) as client:
        assert client.send_mail() == reply
        assert client.send_mail(mail_of(GOOD)).startswith("250 ")
    # Postfix shows a milter what the client sent, and not its own line.
    assert [len(event.received) for event in doorway.told] == [1, 1]
    assert {event.source_ip for event in doorway.told} == {"127.0.0.1"}


def test_behind_postfix_no_character_of_a_reply_is_lost(rspamd: Rspamd, port: int) -> None:
    text = '550 5.7.230 "100%" %s \\ $x'
    with served_http(rspamd.door, judging_doorway(blocked=text)), Client(port) as client:
        assert client.send_mail() == f"554 5.7.1 {text}"


def test_in_report_mode_mail_passes_with_a_header(rspamd: Rspamd, port: int, postfix: Postfix) -> None:
    doorway = judging_doorway(is_enforcing=False, adds_header=True)
    with served_http(rspamd.door, doorway), Client(port) as client:
        assert client.send_mail().startswith("250 ")
    header = f"X-TES: action=BLOCK; cause=BLOCKED; build={OLD}; event={doorway.told[0].event_id}\n".encode()

    async def is_delivered() -> bool:
        return any(header in message for message in postfix.inbox)

    asyncio.run(until_true(is_delivered))


def test_mail_passes_without_a_door(rspamd: Rspamd, port: int) -> None:
    with Client(port) as client:
        assert client.send_mail().startswith("250 ")


@pytest.mark.parametrize("answer", OTHER_ANSWERS.values(), ids=OTHER_ANSWERS)
def test_mail_passes_whatever_is_answered(rspamd: Rspamd, answer: bytes) -> None:
    with answering(rspamd.door, answer) as asked:
        assert rspamd.check(mail_of(), **CLIENT)["action"] == "no action"
    assert asked


def test_mail_passes_when_the_door_hangs(rspamd: Rspamd, port: int) -> None:
    with answering(rspamd.door, None) as asked, Client(port) as client:
        assert client.send_mail().startswith("250 ")
    assert asked
