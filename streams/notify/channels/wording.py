"""What a message says to people, in their language: the same words for mail and for chat, before any markup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from streams.domain.outputs.notification import NotificationKind
from streams.domain.policy.judgement import Finding
from streams.notices.model import OPERATORS, Destination, Form, Message
from streams.notify.channels.fields import bounded, cut
from streams.notify.channels.links import Links
from streams.texts.header_lines import MarkedLine, mark_build
from streams.texts.languages import DEFAULT, NAMES, Language, language_of
from streams.texts.notice_words import Notice, notice_words
from streams.visible import visible

MOST_ITEMS: Final = 100
"""Of a digest that are shown; all are where its link leads."""
_MAX_NAME_CHARS: Final = 80
_MOST_CVES: Final = 5
_MOST_LINE_CHARS: Final = 600
_RELEASED: Final = (NotificationKind.SERVER_RESOLVED, NotificationKind.SERVER_VANISHED)


class Fact(NamedTuple):
    """A fact about what happened, and what it is called; `line` is its value where that is a header line."""

    label: str
    value: str
    line: MarkedLine | None = None

    def within(self, most: int) -> str:
        """Its value in at most so many characters; of a header line the part around the build."""
        return cut(self.value, most) if self.line is None else self.line.within(most).text


class Item(NamedTuple):
    """A notice of a digest; `when` is its moment in words."""

    title: str
    text: str
    when: str
    role: str
    is_foreign: bool


class Card(NamedTuple):
    """A message in words. Every character of it can be seen, and nothing in it is escaped for any markup.

    Attributes:
        language: its language.
        title: one line, without any mark of a person's own making but the names of servers.
        text: what happened, in sentences.
        role: how urgent it is: blocked, reported, good or unjudged.
        is_foreign: title and text are in English, whatever the language.
        facts: why, what to install, dates.
        items: the notices of a digest, the oldest first.
        omitted: how many more there are.
        link: where to go on, an https URL or empty.
        link_label: what is there.
        reference: where the record says that one can read on, or empty.
        reason: why the reader gets this.
    """

    language: Language
    title: str
    text: str
    role: str
    is_foreign: bool = False
    facts: tuple[Fact, ...] = ()
    items: tuple[Item, ...] = ()
    omitted: int = 0
    link: str = ""
    link_label: str = ""
    reference: str = ""
    reason: str = ""


def card_of(destination: Destination, message: Message, links: Links) -> Card:
    """What a message says to a destination."""
    language = language_of(destination.language if destination.language in NAMES else DEFAULT)
    match message.form:
        case Form.CONFIRMATION:
            return _confirmation(language, destination, message, links)
        case Form.TEST:
            return _test(language, destination, links)
        case Form.SINGLE:
            return _single(language, destination, message.notices[0], links)
        case _:
            return _digest(language, destination, message, links)


def more_words(card: Card, shown: int) -> str:
    """How many notices of a digest are not shown, where so many of its items are; empty for none."""
    more = card.omitted + max(0, len(card.items) - shown)
    return card.language.say_many("%(n)s more is in the report.", "%(n)s more are in the report.", more) if more else ""


def _confirmation(language: Language, destination: Destination, message: Message, links: Links) -> Card:
    # Nothing that somebody wrote is in it: it goes to a reader who may never have asked for anything.
    whose = language.say("all tenants") if destination.tenant_id == OPERATORS else visible(destination.tenant_id)
    return Card(
        language,
        language.say("Do you want notices about mail servers?"),
        language.say(
            "Somebody has asked for notices about the mail servers of %(whose)s to be sent here. Confirm it only if "
            "you expect them. Otherwise there is nothing to do: nothing more will be sent.",
            whose=whose,
        ),
        "unjudged",
        link=links.confirm(destination, message),
        link_label=language.say("Confirm"),
    )


def _test(language: Language, destination: Destination, links: Links) -> Card:
    return Card(
        language,
        language.say("Test: notices arrive here"),
        language.say("This is a test that somebody has asked for. Nothing has happened to your servers."),
        "good",
        link=links.page(destination),
        link_label=language.say("Show in the report"),
        reason=_reason(language, destination),
    )


def _single(language: Language, destination: Destination, record: Mapping[str, Any], links: Links) -> Card:
    record, cut_fields = bounded(record)
    words = notice_words(language, record)
    server = None if "server" in cut_fields else record.get("server")
    return Card(
        language,
        cut(_with_tenant(words, destination, record), _MAX_NAME_CHARS * 2),
        words.text,
        words.role,
        words.is_foreign,
        tuple(_facts(language, record, destination.zone)),
        link=links.page(destination, server),
        link_label=language.say("Show in the report"),
        reference=_web_link(record.get("link")),
        reason=_reason(language, destination),
    )


def _digest(language: Language, destination: Destination, message: Message, links: Links) -> Card:
    n = len(message.notices) + message.omitted
    items = []
    for notice in message.notices[:MOST_ITEMS]:
        record, _ = bounded(notice)
        words = notice_words(language, record)
        items.append(
            Item(
                cut(_with_tenant(words, destination, record), _MAX_NAME_CHARS * 2),
                cut(words.text, 400),
                language.local_moment(words.at, destination.zone),
                words.role,
                words.is_foreign,
            )
        )
    return Card(
        language,
        language.say_many("%(n)s notice about mail servers", "%(n)s notices about mail servers", n),
        "",
        next(
            (role for role in ("blocked", "reported", "good") if any(item.role == role for item in items)), "unjudged"
        ),
        items=tuple(items),
        omitted=n - len(items),
        link=links.page(destination),
        link_label=language.say("Show all in the report"),
        reason=_reason(language, destination),
    )


def _with_tenant(words: Notice, destination: Destination, record: Mapping[str, Any]) -> str:
    """A title; operators are told of all tenants, so they are told of which one."""
    title = visible(words.title)
    return f"{visible(record['tenant_id'])}: {title}" if destination.tenant_id == OPERATORS else title


def _facts(language: Language, record: Mapping[str, Any], zone: str) -> Iterator[Fact]:
    if server := record.get("server"):
        yield Fact(language.say("Server"), visible(server))
    yield from _reasons(language, record)
    remedy, kind = record.get("remedy"), record["kind"]
    if remedy is not None and kind not in _RELEASED:
        name = ", ".join(filter(None, (remedy["name"], remedy.get("kb"))))
        yield Fact(language.say("What to install"), visible(name))
    elif _is_beyond_update(record) and kind not in _RELEASED:
        advice = language.say("No update makes this product acceptable: move its mailboxes to a supported one.")
        yield Fact(language.say("What to do"), advice)
    yield Fact(language.say("When"), language.local_moment(record["occurred_at"], zone))
    if (begins := record.get("next_stage_at")) is not None and kind not in _RELEASED:
        is_first = kind in (NotificationKind.STAGE_UPCOMING, NotificationKind.POLICY_ANNOUNCED)
        label = language.say("Takes effect") if is_first else language.say("Next stage")
        yield Fact(label, language.local_moment(begins, zone))
    if (since := record.get("detected_at")) is not None:
        yield Fact(language.say("Out of date since"), language.local_moment(since, zone))
    if (until := record.get("paused_until")) is not None:
        yield Fact(language.say("Paused until"), language.local_moment(until, zone))
    if (left := record.get("quota_left_days")) is not None:
        yield Fact(language.say("Days of pause left"), language.number(left))


def _reasons(language: Language, record: Mapping[str, Any]) -> Iterator[Fact]:
    """Why: the build beside what is accepted, and the header line that shows it where the record has one."""
    build, required = record.get("build"), record.get("required_build")
    line = (record.get("evidence") or {}).get("received")
    if build and record.get("finding") == Finding.COMPLIANT:
        yield Fact(language.say("Why"), language.say("Its build %(build)s is accepted.", build=visible(build)))
    elif build and required:
        why = language.say(
            "Its build is %(build)s; %(required)s or newer is accepted.",
            build=visible(build),
            required=visible(required),
        )
        yield Fact(language.say("Why"), why)
    elif build and _is_beyond_update(record):
        why = language.say("%(build)s is no longer accepted, with whatever update.", build=visible(build))
        yield Fact(language.say("Why"), why)
    elif build:
        yield Fact(language.say("Build"), visible(build))
    if line:
        marked = mark_build(line, build).within(_MOST_LINE_CHARS)
        yield Fact(language.say("Evidence"), marked.text, marked)
    if cves := [visible(one) for one in record.get("cves") or ()]:
        listed = cves[:_MOST_CVES]
        others = len(cves) - _MOST_CVES
        if others > 0:
            listed.append(language.say_many("%(n)s more", "%(n)s more", others))
        yield Fact(language.say("Known vulnerabilities"), language.listed(listed))


def _is_beyond_update(record: Mapping[str, Any]) -> bool:
    """Whether no update of its product is accepted."""
    return record.get("finding") == Finding.UNSUPPORTED and not record.get("required_build")


def _reason(language: Language, destination: Destination) -> str:
    name = cut(visible(destination.name), _MAX_NAME_CHARS)
    return language.say("You get this because “%(name)s” is a destination for such notices.", name=name)


def _web_link(link: str | None) -> str:
    if link is None or not link.startswith(("https://", "http://")):
        return ""
    return link if visible(link) == link and " " not in link else ""
