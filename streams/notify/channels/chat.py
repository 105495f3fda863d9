"""Chat: the bodies that incoming webhooks of Slack, Discord and workflows of Teams take.

Each has its own markup, and names of servers are claims of strangers: nothing in them may become a mention, a link or
a format. Where a service has text without markup, that is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from streams.notices.model import Channel, Destination, DestinationKind, Message, Outcome, OutcomeKind
from streams.notices.reach import UrlError, check_url
from streams.notify.channels.fields import cut
from streams.notify.channels.guard import CallError, GuardedClient
from streams.notify.channels.links import Links
from streams.notify.channels.webhook import outcome_of
from streams.notify.channels.wording import Card, Fact, card_of, more_words
from streams.visible import visible

MOST_ITEMS: Final = 15
"""Of a digest that are shown: a channel is read in passing."""
SLACK_TEXT_CHARS, SLACK_TITLE_CHARS, SLACK_FIELDS, SLACK_FIELD_CHARS = 3_000, 150, 10, 2_000
DISCORD_TITLE_CHARS, DISCORD_TEXT_CHARS, DISCORD_FIELD_CHARS, DISCORD_CHARS = 256, 4_096, 1_024, 6_000
MAX_LINK_CHARS: Final = 1_000
"""A longer link is left out: two of them have to fit beside the text."""
TEAMS_BYTES: Final = 28_000
_SLACK_GONE: Final = frozenset(
    {b"no_service", b"no_team", b"no_active_hooks", b"team_disabled", b"channel_not_found", b"channel_is_archived"}
)
_DISCORD_GONE: Final = re.compile(rb'"code"\s*:\s*10015\b')
_COLORS: Final = {"blocked": 0xC4314B, "reported": 0xC77700, "good": 0x2E7D32}
_OTHER_COLOR: Final = 0x6B7280
_PUNCTUATION: Final = re.compile(r"([!-/:-@\[-`{-~])")


class ChatChannel(Channel):
    """Posts to incoming webhooks, whose URL is their secret: it is in no outcome and no line of the log."""

    def __init__(self, client: GuardedClient, *, links: Links, clock: Callable[[], int]) -> None:
        """Prepare a channel; `client` is entered and closed by whoever made it, `clock` returns UTC milliseconds."""
        self._client, self._links, self._clock = client, links, clock

    async def send(self, destination: Destination, message: Message) -> Outcome:
        """See `Channel`. A confirmation is a message with a link: chat cannot answer a challenge."""
        body = chat_body(destination.kind, card_of(destination, message, self._links))
        try:
            url = check_url(destination.address, self._client.rules)
        except UrlError as error:
            return Outcome(OutcomeKind.FAILED, None, f"the URL {error}")
        try:
            answer = await self._client.post(url, body, {"Content-Type": "application/json"})
        except CallError as error:
            return Outcome(OutcomeKind.FAILED, None, str(error))
        outcome = outcome_of(answer, self._clock())
        if outcome.kind != OutcomeKind.FAILED:
            return outcome
        if _is_gone(destination.kind, answer.status, answer.body):
            return Outcome(OutcomeKind.GONE, answer.status, "the channel or its webhook was removed")
        # A service says in a word what is wrong; a page of HTML says nothing.
        reason = visible(answer.body[:80].decode(errors="replace").strip())
        return outcome if not reason or "<" in reason else outcome._replace(why=cut(f"{outcome.why}: {reason}", 300))


def chat_body(kind: DestinationKind, card: Card) -> bytes:
    """The body for a kind of chat.

    Raises:
        ValueError: a destination of this kind is no chat.
    """
    match kind:
        case DestinationKind.SLACK:
            return json.dumps(slack_body(card)).encode()
        case DestinationKind.DISCORD:
            return json.dumps(discord_body(card)).encode()
        case DestinationKind.TEAMS:
            return _teams_bytes(card)
        case _:
            raise ValueError(f"{kind} is no chat")


def slack_body(card: Card) -> Mapping[str, Any]:
    """A message of blocks. Names are text without markup, or have what is markup escaped."""
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _slack_plain(card.title, SLACK_TITLE_CHARS)}]
    if card.text:
        blocks.append({"type": "section", "text": _slack_plain(card.text, SLACK_TEXT_CHARS)})
    fields = [
        _slack_markup(f"*{_slack_escape(fact.label)}*\n{_slack_escape(fact.within(SLACK_FIELD_CHARS // 8))}")
        for fact in card.facts[:SLACK_FIELDS]
    ]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    if card.items:
        blocks.append({"type": "section", "text": _slack_plain(_items_text(card), SLACK_TEXT_CHARS)})
    if link_lines := [f"<{_slack_escape(url)}|{_slack_escape(label)}>" for url, label in _links_of(card)]:
        blocks.append({"type": "section", "text": _slack_markup("  ·  ".join(link_lines))})
    if card.reason:
        blocks.append({"type": "context", "elements": [_slack_plain(card.reason, SLACK_FIELD_CHARS)]})
    fallback = _slack_escape(cut(card.title, SLACK_TITLE_CHARS))
    return {"text": fallback, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def discord_body(card: Card) -> Mapping[str, Any]:
    """An embed that mentions nobody, whatever stands in it."""
    text = _items_text(card) if card.items else card.text
    fields = [_discord_field(fact) for fact in card.facts]
    urls = " · ".join(f"[{_discord_text(label, 80)}]({url})" for url, label in _links_of(card))
    room = DISCORD_TEXT_CHARS - len(urls) - 2
    # Of what all parts may have together, the title and the footer take what they may have at most.
    spent = sum(len(field["name"]) + len(field["value"]) for field in fields) + DISCORD_TITLE_CHARS + 200
    description = _discord_text(text, max(200, min(room, DISCORD_CHARS - spent - len(urls))))
    embed = {
        "title": _discord_text(card.title, DISCORD_TITLE_CHARS),
        "description": "\n\n".join(filter(None, (description, urls))),
        "color": _COLORS.get(card.role, _OTHER_COLOR),
        "fields": fields,
        "footer": {"text": cut(card.reason, 200)},
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def teams_body(card: Card, items: int = MOST_ITEMS) -> Mapping[str, Any]:
    """An adaptive card of runs of text: a text block would take names for Markdown and for functions."""
    body: list[dict[str, Any]] = [_teams_runs(_run(card.title, weight="Bolder", size="Large"))]
    if card.text:
        body.append(_teams_runs(_run(cut(card.text, 2_000))))
    body += [_teams_runs(_run(f"{fact.label}: ", weight="Bolder"), _run(fact.value)) for fact in card.facts]
    for item in card.items[:items]:
        body.append(_teams_runs(_run(f"{item.when}  ", isSubtle=True), _run(item.title)))
    if more := more_words(card, items):
        body.append(_teams_runs(_run(more, isSubtle=True)))
    if card.reason:
        body.append(_teams_runs(_run(card.reason, isSubtle=True, size="Small")))
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": card.title,
        "body": body,
        "actions": [{"type": "Action.OpenUrl", "title": label, "url": url} for url, label in _links_of(card)],
        "msteams": {"width": "Full"},
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return {"type": "message", "attachments": [attachment]}


def _teams_bytes(card: Card) -> bytes:
    for items in (MOST_ITEMS, 5, 1):
        body = json.dumps(teams_body(card, items)).encode()
        if len(body) <= TEAMS_BYTES:
            return body
    return json.dumps(teams_body(card._replace(text=cut(card.text, 300), facts=card.facts[:3]), 0)).encode()


def _links_of(card: Card) -> list[tuple[str, str]]:
    pairs = ((card.link, card.link_label), (card.reference, card.language.say("Read more")))
    escaped = [(_escaped_url(url), label) for url, label in pairs if url]
    return [(url, label) for url, label in escaped if len(url) <= MAX_LINK_CHARS]


def _items_text(card: Card) -> str:
    lines = [f"• {item.title} ({item.when})" for item in card.items[:MOST_ITEMS]]
    return "\n".join(filter(None, (*lines, more_words(card, MOST_ITEMS))))


def _is_gone(kind: DestinationKind, status: int, body: bytes) -> bool:
    if kind == DestinationKind.SLACK:
        return body.strip() in _SLACK_GONE
    return kind == DestinationKind.DISCORD and status == 404 and _DISCORD_GONE.search(body) is not None


def _slack_plain(text: str, most: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": cut(text, most) or " ", "emoji": False}


def _slack_markup(text: str) -> dict[str, Any]:
    # `verbatim` keeps Slack from making links and mentions of what only looks like them.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _slack_escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _escaped_url(url: str) -> str:
    """A URL in which nothing ends a link of any markup."""
    return quote(url, safe=":/?#@!$&'*+,;=%~-._[]")


def _discord_text(text: str, most: int) -> str:
    """Text with every sign of Markdown escaped, of at most so many characters."""
    escaped = _PUNCTUATION.sub(r"\\\1", text)
    while len(escaped) > most:
        text = cut(text, min(len(text) - 1, max(1, len(text) * most // len(escaped))))
        escaped = _PUNCTUATION.sub(r"\\\1", text)
    return escaped


def _discord_field(fact: Fact) -> dict[str, Any]:
    value = _discord_text(fact.within(200 if fact.line else 400), 400)
    return {"name": _discord_text(fact.label, 128), "value": value, "inline": len(value) < 40}


def _run(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **style}


def _teams_runs(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}
