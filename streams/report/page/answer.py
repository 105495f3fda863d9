"""The answer: am I in trouble, until when do I have, what do I do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from streams.domain.outputs.server_report import ServerStatus
from streams.domain.tenant.quota import year_of
from streams.domain.time import DAY_MS
from streams.texts.languages import Language
from streams.texts.status_words import OUT_OF_DATE
from streams.visible import visible

MOST_NAMES: Final = 2
"""Servers that a sentence names."""
_MOST_NAME_CHARS: Final = 60


class Affected(NamedTuple):
    """How many servers something happens to, and the first few of their names."""

    n: int
    names: tuple[str, ...]


NONE_AFFECTED: Final = Affected(0, ())


class Situation(NamedTuple):
    """What the answer follows from; moments in UTC milliseconds.

    `counts` has the servers by status; `blocked` and `delayed` those whose mail is so now, whatever their status.
    `blocking_at` is when mail is first blocked of a server of which none is blocked yet. `unseen_since` is when one of
    those that vanished was last seen, None where none did. `paused_until` is of a pause of the whole tenant,
    `quota_left_days` what the year of `now` has left.
    """

    counts: Mapping[str, int]
    blocked: Affected
    delayed: Affected
    blocking_at: int | None
    unseen_since: int | None
    paused_until: int | None
    quota_left_days: int | None
    now: int


class Answer(NamedTuple):
    """The sentence, what follows it, and the role of its colour."""

    sentence: str
    more: str
    role: str


def answer(language: Language, situation: Situation) -> Answer:
    """The answer in a situation."""
    total = sum(situation.counts.values())
    outdated = sum(situation.counts.get(status, 0) for status in OUT_OF_DATE)
    if not total:
        more = language.say("The first connection of a server puts it here. There is nothing to do.")
        return Answer(language.say("No server of yours has connected yet."), more, "good")
    outdated_sentence = language.say_many(
        "%(n)s of %(total)s servers is out of date.",
        "%(n)s of %(total)s servers are out of date.",
        outdated,
        total=language.number(total),
    )
    if situation.paused_until is not None:
        return Answer(_paused(language, situation), outdated_sentence if outdated else "", "held")
    if not outdated:
        return _nothing_outdated(language, situation, total)
    role = "blocked" if situation.blocked.n else "delayed" if situation.delayed.n else "reported"
    more = " ".join(filter(None, (_now_and_next(language, situation), _to_do(language))))
    return Answer(outdated_sentence, more, role)


def _paused(language: Language, situation: Situation) -> str:
    assert situation.paused_until is not None
    until = language.moment(situation.paused_until)
    if situation.quota_left_days is None:
        return language.say("Enforcement is paused until %(until)s.", until=until)
    return language.say_many(
        "Enforcement is paused until %(until)s; %(n)s day of pause is left in %(year)s.",
        "Enforcement is paused until %(until)s; %(n)s days of pause are left in %(year)s.",
        situation.quota_left_days,
        until=until,
        year=str(year_of(situation.now)),
    )


def _nothing_outdated(language: Language, situation: Situation, total: int) -> Answer:
    good = situation.counts.get(ServerStatus.COMPLIANT, 0) + situation.counts.get(ServerStatus.RESOLVED, 0)
    unseen = situation.counts.get(ServerStatus.VANISHED, 0)
    if unseen and situation.unseen_since is not None:
        more = language.say_many(
            "Check its build before it sends mail again.", "Check their builds before they send mail again.", unseen
        )
        return Answer(_unseen(language, unseen, total - unseen, good, situation.unseen_since), more, "gone")
    if good == total:
        sentence = language.say_many("Your server is up to date.", "All %(n)s servers are up to date.", total)
    else:
        sentence = language.say_many(
            "Your server is not out of date.", "None of your %(n)s servers is out of date.", total
        )
    return Answer(sentence, language.say("There is nothing to do."), "good")


def _unseen(language: Language, unseen: int, seen: int, good: int, since: int) -> str:
    """What is known where servers vanished: what they were then says nothing of them now."""
    date = language.long_date(since)
    if not seen:
        return language.say_many(
            "Your server was not seen since %(date)s.",
            "None of your %(n)s servers was seen since %(date)s.",
            unseen,
            date=date,
        )
    if good == seen:
        return language.say_many(
            "All servers that were seen lately are up to date; %(n)s was not seen since %(date)s.",
            "All servers that were seen lately are up to date; %(n)s were not seen since %(date)s.",
            unseen,
            date=date,
        )
    return language.say_many(
        "No server that was seen lately is out of date; %(n)s was not seen since %(date)s.",
        "No server that was seen lately is out of date; %(n)s were not seen since %(date)s.",
        unseen,
        date=date,
    )


def _now_and_next(language: Language, situation: Situation) -> str:
    blocked, delayed = situation.blocked, situation.delayed
    if blocked.n:
        return language.say("Mail from %(servers)s is blocked now.", servers=_named(language, blocked))
    if situation.blocking_at is None:
        names = _named(language, delayed)
        return language.say("Mail from %(servers)s is delayed now.", servers=names) if delayed.n else ""
    days = max(0, -((situation.now - situation.blocking_at) // DAY_MS))
    date = language.long_date(situation.blocking_at)
    if delayed.n:
        return language.say_many(
            "Mail from %(servers)s is delayed now; blocking begins in %(n)s day, on %(date)s.",
            "Mail from %(servers)s is delayed now; blocking begins in %(n)s days, on %(date)s.",
            days,
            servers=_named(language, delayed),
            date=date,
        )
    return language.say_many(
        "No mail is delayed yet; blocking begins in %(n)s day, on %(date)s.",
        "No mail is delayed yet; blocking begins in %(n)s days, on %(date)s.",
        days,
        date=date,
    )


def _to_do(language: Language) -> str:
    return language.say("Install the updates that the table names.")


def _named(language: Language, affected: Affected) -> str:
    shown = [_short(name) for name in affected.names[:MOST_NAMES]]
    others = affected.n - len(shown)
    if others > 0:
        shown.append(language.say_many("%(n)s other", "%(n)s others", others))
    return language.listed(shown)


def _short(name: str) -> str:
    shown = visible(name)
    return shown if len(shown) <= _MOST_NAME_CHARS else f"{shown[:_MOST_NAME_CHARS]}…"
