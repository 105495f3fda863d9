"""Notices in the reader's language, from their fields; one of an unknown kind as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from streams.domain.outputs.notification import NotificationKind, Severity
from streams.texts.languages import Language
from streams.texts.status_words import change_words, rates_of
from streams.visible import visible, visible_lines


class Notice(NamedTuple):
    """A notice; `at` in UTC milliseconds. `is_foreign` says that it is in English, whatever the language."""

    at: int
    server: str | None
    title: str
    text: str
    role: str
    is_foreign: bool


_ROLES = {Severity.CRITICAL: "blocked", Severity.WARNING: "reported", Severity.INFO: "good"}


def notice_words(language: Language, record: Mapping[str, Any]) -> Notice:
    """A notice from its record."""
    server = record.get("server")
    title = _title(language, record)
    text = record["text"] if title is None else " ".join(filter(None, _sentences(language, record)))
    return Notice(
        record["occurred_at"],
        server,
        visible(record["title"]) if title is None else title,
        visible_lines(text),
        next((role for severity, role in _ROLES.items() if severity == record["severity"]), "unjudged"),
        title is None,
    )


def _title(language: Language, record: Mapping[str, Any]) -> str | None:
    name = visible(record.get("server") or "")
    match record["kind"]:
        case NotificationKind.SERVER_DETECTED:
            return language.say("%(server)s is no longer accepted", server=name)
        case NotificationKind.STAGE_UPCOMING:
            return language.say("Enforcement of %(server)s becomes stricter soon", server=name)
        case NotificationKind.STAGE_ENTERED:
            return language.say("Enforcement of %(server)s has become stricter", server=name)
        case NotificationKind.SERVER_RESOLVED:
            return language.say("%(server)s is accepted again", server=name)
        case NotificationKind.SERVER_REGRESSED:
            return language.say("%(server)s is out of date again", server=name)
        case NotificationKind.SERVER_MIXED:
            return language.say("Several machines share the name %(server)s", server=name)
        case NotificationKind.SERVER_VANISHED:
            return language.say("%(server)s has not been seen for a while", server=name)
        case NotificationKind.POLICY_ANNOUNCED:
            return language.say("%(server)s falls below a coming policy", server=name)
        case NotificationKind.EXCEPTION_GRANTED:
            return language.say("%(server)s is exempt", server=name)
        case NotificationKind.EXCEPTION_REVOKED:
            return language.say("The exception of %(server)s was revoked", server=name)
        case NotificationKind.EXCEPTION_EXPIRED:
            return language.say("The exception of %(server)s has expired", server=name)
        case NotificationKind.OVERRIDE_APPLIED:
            return language.say("%(server)s is judged by a build that an operator set", server=name)
        case NotificationKind.OVERRIDE_ENDED:
            return language.say("%(server)s is judged by its own build again", server=name)
        case _:
            return _title_of_pause(language, record)


def _title_of_pause(language: Language, record: Mapping[str, Any]) -> str | None:
    whose = visible(record.get("server") or "") or language.say("all servers")
    match record["kind"]:
        case NotificationKind.PAUSE_STARTED:
            return language.say("Pause begun: %(servers)s", servers=whose)
        case NotificationKind.PAUSE_EXTENDED:
            return language.say("Pause extended: %(servers)s", servers=whose)
        case NotificationKind.PAUSE_CANCELLED:
            return language.say("Pause cancelled: %(servers)s", servers=whose)
        case NotificationKind.PAUSE_ENDING:
            return language.say("Pause ends soon: %(servers)s", servers=whose)
        case NotificationKind.PAUSE_ENDED:
            return language.say("Pause over: %(servers)s", servers=whose)
        case _:
            # A refusal names the rule that was broken in its text, and kinds to come are not known.
            return None


def _sentences(language: Language, record: Mapping[str, Any]) -> list[str]:
    sentences = []
    is_released = record["kind"] in (NotificationKind.SERVER_RESOLVED, NotificationKind.SERVER_VANISHED)
    rates = rates_of(record.get("throttle_minutes_per_hour"), record.get("block_minutes_per_hour"))
    begins = record.get("next_stage_at")
    if record.get("paused_until"):
        until = language.moment(record["paused_until"])
        sentences.append(language.say("Enforcement stands still until %(until)s.", until=until))
    if record["kind"] == NotificationKind.STAGE_UPCOMING and begins is not None:
        what = change_words(language, rates, rates)
        sentences.append(language.say("From %(date)s: %(what)s.", date=language.moment(begins), what=what))
    elif record["kind"] == NotificationKind.POLICY_ANNOUNCED and begins is not None:
        sentences.append(language.say("It takes effect on %(date)s.", date=language.moment(begins)))
    elif record.get("throttle_minutes_per_hour") is not None and not is_released and not record.get("paused_until"):
        sentences.append(language.say("Now: %(what)s.", what=change_words(language, rates, rates)))
        if begins is not None:
            sentences.append(language.say("The next stage begins on %(date)s.", date=language.moment(begins)))
    if record["kind"] == NotificationKind.SERVER_MIXED:
        sentences.append(language.say("Update every machine behind this name."))
    if record["kind"] == NotificationKind.SERVER_VANISHED:
        sentences.append(language.say("A relay in front of a server hides it but does not fix it."))
    remedy = record.get("remedy")
    if remedy is not None and not is_released:
        name = ", ".join(filter(None, (remedy["name"], remedy.get("kb"))))
        sentences.append(language.say("Install %(update)s.", update=visible(name)))
    return sentences
