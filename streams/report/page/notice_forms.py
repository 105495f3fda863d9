"""Forms about notices: read, checked, and made what the ledger takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from streams.notices.checks import MOST_NAME_CHARS, MOST_PATTERN_CHARS
from streams.notices.model import DestinationKind, Digest, Subscription, kinds_of
from streams.report.page.destination_words import clock_time
from streams.report.page.visits import PageRequest
from streams.report.web.notices import NewDestination
from streams.report.web.problems import Problem
from streams.texts.languages import NAMES, Language

_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::00)?")
KINDS: Final = "kinds"

Form = Mapping[str, str]


async def read_lists(request: PageRequest, name: str) -> list[str]:
    """Every value that a form has for a field."""
    return [value for value in (await request.form()).getall(name, []) if isinstance(value, str)]


def new_destination(form: Form, owner: str) -> NewDestination:
    """The destination that a form asks for, of a tenant or of operators; the ledger says whether it can be.

    Raises:
        Problem: the form is none of ours.
    """
    kind = one_of(form, "kind", kinds_of(owner))
    return NewDestination(
        DestinationKind(kind),
        form.get("name", "").strip(),
        form.get("address", "").strip(),
        one_of(form, "language", list(NAMES)),
        form.get("zone", "").strip(),
    )


def wanted_subscription(
    language: Language, form: Form, kinds: Sequence[str], found: Subscription
) -> tuple[Subscription, dict[str, str]]:
    """A subscription with what a form says, and what is wrong with the form, by its fields.

    Raises:
        Problem: the form is none of ours.
    """
    faults: dict[str, str] = {}
    daily_at = _minute(language, form, "daily_at", faults)
    quiet_from, quiet_to = (_minute(language, form, name, faults) for name in ("quiet_from", "quiet_to"))
    if not faults and (quiet_from is None) != (quiet_to is None):
        faults["quiet_to"] = language.say("Give both times, or none for no quiet hours.")
    elif not faults and quiet_from is not None and quiet_from == quiet_to:
        faults["quiet_to"] = language.say("Give another time than the one from which it is quiet.")
    wanted = found._replace(
        kinds=tuple(kinds) or None,
        least_severity=form.get("least_severity", ""),
        servers=form.get("servers", "").strip() or None,
        digest=Digest(one_of(form, "digest", list(Digest))),
        daily_at=Subscription._field_defaults["daily_at"] if daily_at is None else daily_at,
        quiet_from=quiet_from,
        quiet_to=quiet_to,
        is_quiet_for_critical="is_quiet_for_critical" in form,
    )
    return wanted, faults


def form_of_subscription(subscription: Subscription) -> dict[str, str]:
    """The fields of the form that shows a subscription; those of kinds aside."""
    shown = {
        "least_severity": subscription.least_severity,
        "servers": subscription.servers or "",
        "digest": subscription.digest.value,
        "daily_at": clock_time(subscription.daily_at),
        "quiet_from": "" if subscription.quiet_from is None else clock_time(subscription.quiet_from),
        "quiet_to": "" if subscription.quiet_to is None else clock_time(subscription.quiet_to),
    }
    return shown | ({"is_quiet_for_critical": "yes"} if subscription.is_quiet_for_critical else {})


def fault_of(language: Language, error: ValueError, kind: DestinationKind | None = None) -> dict[str, str]:
    """What the ledger refuses, by the field of the form that has it.

    Raises:
        ValueError: it is about none of the form's fields.
    """
    field = str(error).partition(":")[0]
    match field:
        case "name":
            return {field: language.say("Give 1 to %(most)s characters.", most=MOST_NAME_CHARS)}
        case "servers":
            return {field: language.say("Give 1 to %(most)s characters.", most=MOST_PATTERN_CHARS)}
        case "zone":
            return {field: language.say("Give a time zone by its name, as Europe/Berlin.")}
        case "address" if kind is DestinationKind.MAIL:
            return {field: language.say("Give a mail address, as admin@contoso.com.")}
        case "address" if kind is DestinationKind.APPRISE:
            return {field: language.say("Give an address of Apprise, as ntfys://HOST/TOPIC.")}
        case "address":
            return {
                field: language.say("Give an address that begins with https://, without a user and without a fragment.")
            }
        case _:
            raise error


def one_of(form: Form, name: str, known: Sequence[str]) -> str:
    """A value of a form that can only be one of some.

    Raises:
        Problem: it is none of them.
    """
    value = form.get(name, "")
    if value not in known:
        raise Problem(HTTPStatus.BAD_REQUEST, f"{name}: {value[:80]!r:.100}: must be one of {', '.join(known)}")
    return next(one for one in known if one == value)


def _minute(language: Language, form: Form, name: str, faults: dict[str, Any]) -> int | None:
    text = form.get(name, "").strip()
    if not text:
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        faults[name] = language.say("Give a time of the day, as 22:00.")
        return None
    return int(found[1]) * 60 + int(found[2])
