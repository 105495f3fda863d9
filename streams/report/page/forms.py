"""Forms that ask the engine for something: read, checked, and made commands.

A form knows its command's id, so that a form that is sent again asks for nothing new.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, time
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from streams.domain.bounds import MAX_SERVER_CHARS, MAX_TEXT_CHARS
from streams.domain.exchange.build import parse_build
from streams.domain.tenant.commands import CommandKind
from streams.domain.time import LATEST_MS, moment_ms
from streams.report.web.problems import Problem
from streams.texts.languages import Language

MOST_DAYS: Final = 366
"""Of one pause; more is in no quota."""
KEY: Final = "key"
OPERATOR_KINDS: Final = (CommandKind.EXCEPTION_GRANT, CommandKind.EXCEPTION_REVOKE, CommandKind.OVERRIDE_BUILD)


class Faults(NamedTuple):
    """What is wrong with a form, by its fields, in the reader's language."""

    by_field: dict[str, str]


def new_key() -> str:
    """The id of a command that a form will ask for."""
    return str(uuid.uuid4())


def read_command(language: Language, form: Mapping[str, str], kind: CommandKind, now: int) -> dict[str, Any] | Faults:
    """The command that a form asks for, or what is wrong with the form.

    Raises:
        Problem: the form is none of ours: it has no key, or names a server where none can be meant.
    """
    faults: dict[str, str] = {}
    command: dict[str, Any] = {"command_id": _key(form), "kind": kind.value}
    server = form.get("server", "")
    if server:
        if len(server) > MAX_SERVER_CHARS:
            raise Problem(
                HTTPStatus.BAD_REQUEST, f"server: {server[:80]!r:.100}…: must be at most {MAX_SERVER_CHARS} characters"
            )
        command["server"] = server
    if kind in (CommandKind.PAUSE_CREATE, CommandKind.PAUSE_SERVER):
        days = read_days(form.get("days", ""))
        if days is None:
            faults["days"] = language.say("Give a whole number of days from 1 to %(most)s.", most=MOST_DAYS)
        command["days"] = days
    if kind in (CommandKind.EXCEPTION_GRANT, CommandKind.OVERRIDE_BUILD):
        command["reason"] = _text(language, form, "reason", faults)
        command["expires_at"] = _end(language, form, faults, now)
    if kind is CommandKind.EXCEPTION_GRANT:
        command["owner"] = _text(language, form, "owner", faults)
    if kind is CommandKind.OVERRIDE_BUILD:
        command["build"] = _build(language, form, faults)
    return Faults(faults) if faults else command


def read_days(text: str) -> int | None:
    """The days of a pause; None where the text is no number of days that a pause may have."""
    days = int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 else 0
    return days if 1 <= days <= MOST_DAYS else None


def _key(form: Mapping[str, str]) -> str:
    key = form.get(KEY, "")
    try:
        return str(uuid.UUID(key))
    except ValueError:
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"key: {key[:80]!r:.100}: must be the one of the form: open it again"
        ) from None


def _text(language: Language, form: Mapping[str, str], name: str, faults: dict[str, str]) -> str:
    text = form.get(name, "").strip()
    if not 1 <= len(text) <= MAX_TEXT_CHARS:
        faults[name] = language.say("Give 1 to %(most)s characters.", most=MAX_TEXT_CHARS)
    return text


def _end(language: Language, form: Mapping[str, str], faults: dict[str, str], now: int) -> int | None:
    """The last second of the UTC day that the form names, UTC milliseconds."""
    try:
        day = datetime.strptime(form.get("until", ""), "%Y-%m-%d").date()  # noqa: DTZ007 -- only its day is taken
        end = moment_ms(datetime.combine(day, time(23, 59, 59), UTC))
        if now < end < LATEST_MS:
            return end
    except ValueError:
        pass
    faults["until"] = language.say("Give a day to come, as 2027-01-31.")
    return None


def _build(language: Language, form: Mapping[str, str], faults: dict[str, str]) -> str | None:
    try:
        return str(parse_build(form.get("build", "").strip()))
    except ValueError:
        faults["build"] = language.say("Give a build, as 15.1.2507.61.")
        return None
