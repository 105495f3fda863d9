from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.outputs.notification import NotificationKind
from streams.notices.model import DestinationKind, Message, Outcome, OutcomeKind
from streams.notify.channels.chat import ChatChannel, chat_body
from streams.notify.channels.guard import GuardedClient
from streams.notify.channels.wording import card_of
from tests.support.notice_receivers import (
    LOOPBACK,
    NOW,
    Received,
    TestLinks,
    confirmation,
    destination_at,
    digest,
    receiving,
    single,
    trial,
)
from tests.support.occasions import occasion

CHATS = (DestinationKind.SLACK, DestinationKind.TEAMS, DestinationKind.DISCORD)
HOSTILE = "@everyone <!channel> <@U1> **b** [x](http://evil) {{DATE(2026)}} ${x} `c` &amp; http://evil \u202egnp.exe"


def _sent(kind: DestinationKind, message: Message, status: int = 200, body: bytes = b"ok") -> tuple[Outcome, Received]:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={"Retry-After": "2.5"})

    async def run() -> tuple[Outcome, Received]:
        async with receiving(answer) as receiver, GuardedClient(LOOPBACK) as client:
            channel = ChatChannel(client, links=TestLinks(), clock=lambda: NOW)
            return await channel.send(destination_at(receiver.url, kind), message), receiver.received[0]

    return asyncio.run(run())


def _body(kind: DestinationKind, message: Message, **changes: Any) -> Any:
    return json.loads(chat_body(kind, card_of(destination_at("", kind, **changes), message, TestLinks())))


def _values(part: Any, name: str) -> Iterator[Any]:
    """Every value of a name, wherever it is."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == name:
                yield value
            yield from _values(value, name)
    elif isinstance(part, list):
        for value in part:
            yield from _values(value, name)


@pytest.mark.parametrize("kind", CHATS)
def test_a_notice_is_posted_and_links_to_the_report(kind: DestinationKind) -> None:
    outcome, received = _sent(kind, single(), 200 if kind == DestinationKind.SLACK else 202)
    assert outcome.kind == OutcomeKind.DELIVERED
    assert received.headers["content-type"] == "application/json"
    assert "https://report.example/servers/mx1.contoso.com" in received.body.decode()


@pytest.mark.parametrize("kind", CHATS)
@pytest.mark.parametrize("message", [confirmation("t0ken"), trial(), digest(500), single(server=None)])
def test_every_form_of_message_has_a_body(kind: DestinationKind, message: Message) -> None:
    body = chat_body(kind, card_of(destination_at("", kind), message, TestLinks()))
    assert len(body) < 20_000
    if message == confirmation("t0ken"):
        assert b"https://report.example/confirm?token=t0ken" in body


def test_slack_takes_no_name_for_markup() -> None:
    body = _body(
        DestinationKind.SLACK, single(server=HOSTILE, kind="UNKNOWN", title=HOSTILE, text=HOSTILE), name=HOSTILE
    )
    assert "<" not in body["text"]
    for part in _values(body["blocks"], "text"):
        if isinstance(part, dict) and part["type"] == "mrkdwn":
            assert part["verbatim"] is True
            inner = part["text"].replace("<https://report.example/", "").replace(">", "")
            assert "<" not in inner
    assert "<!channel>" not in json.dumps(list(_values(body, "fields")))


def test_discord_mentions_nobody_and_takes_no_name_for_markdown() -> None:
    body = _body(DestinationKind.DISCORD, single(server=HOSTILE, kind="UNKNOWN", title=HOSTILE, text=HOSTILE))
    assert body["allowed_mentions"] == {"parse": []}
    embed = body["embeds"][0]
    for text in (embed["title"], embed["description"].partition("\n\n[")[0], *_values(embed["fields"], "value")):
        plain = text.replace("\\\\", "")
        assert "@everyone" not in plain.replace("\\@", "")
        assert not any(plain[at] in "*`[<|~" and plain[at - 1] != "\\" for at in range(1, len(plain)))


def test_teams_gets_text_without_any_markup() -> None:
    """A text block would take Markdown and {{DATE()}}; a run of text takes nothing."""
    body = _body(DestinationKind.TEAMS, single(server=HOSTILE, kind="UNKNOWN", title=HOSTILE, text=HOSTILE))
    card = body["attachments"][0]["content"]
    assert set(_values(card, "type")) <= {"AdaptiveCard", "RichTextBlock", "TextRun", "Action.OpenUrl"}
    assert all(action["url"].startswith("https://report.example/") for action in card["actions"])


@pytest.mark.parametrize("kind", CHATS)
def test_a_link_of_a_record_that_is_none_is_left_out(kind: DestinationKind) -> None:
    for link in ("javascript:alert(1)", "https://x.example/ y", "https://x.example/\u202e", "data:text/html,x"):
        assert link.split(":", 1)[1].split()[0] not in json.dumps(_body(kind, single(link=link)))
    assert "https://x.example/y" in json.dumps(_body(kind, single(link="https://x.example/y")))


@pytest.mark.parametrize("kind", CHATS)
def test_no_link_leaves_its_markup(kind: DestinationKind) -> None:
    text = json.dumps(_body(kind, single(link='https://x.example/a|b>c)d<e"f')))
    assert "|b" not in text
    assert "b%3Ec%29d%3Ce%22f" in text


@given(
    st.sampled_from(CHATS),
    st.sampled_from(["server", "title", "text", "build", "required_build", "link"]),
    st.sampled_from(["x", "*", "ü", "\U0001f600", "\0", "<", "\n", " "]),
    st.booleans(),
)
def test_a_field_of_100_kb_stays_within_the_limits(kind: DestinationKind, field: str, mark: str, many: bool) -> None:
    changes = {field: mark * 100_000, "kind": "UNKNOWN"}
    body = _body(kind, digest(50, **changes) if many else single(**changes))
    if kind == DestinationKind.TEAMS:
        assert len(json.dumps(body)) < 28_000
    if kind == DestinationKind.SLACK:
        assert len(body["blocks"]) <= 50
        for block in body["blocks"]:
            limit = 150 if block["type"] == "header" else 3_000
            assert 1 <= len(block.get("text", {"text": "x"})["text"]) <= limit
            assert len(block.get("fields", [])) <= 10
            assert all(len(one["text"]) <= 2_000 for one in block.get("fields", []))
    elif kind == DestinationKind.DISCORD:
        embed = body["embeds"][0]
        assert len(embed["title"]) <= 256
        assert len(embed["description"]) <= 4_096
        assert len(embed["fields"]) <= 25
        total = len(embed["title"]) + len(embed["description"]) + len(embed["footer"]["text"])
        for one in embed["fields"]:
            assert 1 <= len(one["name"]) <= 256
            assert 1 <= len(one["value"]) <= 1_024
            total += len(one["name"]) + len(one["value"])
        assert total <= 6_000


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("length", [10, 900])
def test_the_header_line_is_shown_around_its_build(chat: DestinationKind, length: int) -> None:
    notice = occasion(NotificationKind.STAGE_ENTERED)
    notice["evidence"]["received"] = "from " + "y" * length + " by mx1 id 15.1.2507.39; Mon " + "z" * length
    shown = json.dumps(_body(chat, single(**notice)), ensure_ascii=False)
    assert "id 15.1.2507.39; Mon z" in shown.replace("\\", "")
    assert ("y" * 600 in shown) is False


@pytest.mark.parametrize("kind", NotificationKind)
@pytest.mark.parametrize("chat", CHATS)
def test_every_kind_of_notice_has_a_body_in_every_language(kind: str, chat: DestinationKind) -> None:
    for language in ("en", "es", "de", "xx"):
        assert _body(chat, single(kind=kind, next_stage_at=NOW, paused_until=NOW), language=language, zone="Asia/Tokyo")


@pytest.mark.parametrize(
    ("kind", "status", "body", "expected"),
    [
        (DestinationKind.SLACK, 404, b"no_service", OutcomeKind.GONE),
        (DestinationKind.SLACK, 410, b"channel_is_archived", OutcomeKind.GONE),
        (DestinationKind.SLACK, 404, b"channel_not_found", OutcomeKind.GONE),
        (DestinationKind.SLACK, 400, b"invalid_payload", OutcomeKind.FAILED),
        (DestinationKind.SLACK, 500, b"no_service_today", OutcomeKind.FAILED),
        (DestinationKind.DISCORD, 404, b'{"message": "Unknown Webhook", "code": 10015}', OutcomeKind.GONE),
        (DestinationKind.DISCORD, 404, b"<html>", OutcomeKind.FAILED),
        (DestinationKind.TEAMS, 404, b"", OutcomeKind.FAILED),
        (DestinationKind.DISCORD, 429, b'{"retry_after": 2.5}', OutcomeKind.FAILED),
        (DestinationKind.TEAMS, 302, b"", OutcomeKind.FAILED),
    ],
)
def test_what_a_service_answers(kind: DestinationKind, status: int, body: bytes, expected: OutcomeKind) -> None:
    outcome, _ = _sent(kind, single(), status, body)
    assert (outcome.kind, outcome.code) == (expected, status)
    assert outcome.retry_after_ms == (2_500 if status == 429 else None)
    assert ("invalid_payload" in outcome.why) == (body == b"invalid_payload")
    assert "html" not in outcome.why


def test_mail_is_no_chat() -> None:
    with pytest.raises(ValueError, match="no chat"):
        chat_body(DestinationKind.MAIL, card_of(destination_at(""), trial(), TestLinks()))
