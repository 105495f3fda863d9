"""What a destination and a subscription may be. Whether an address may be reached, its channel says at each attempt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Final

from streams.domain.mailboxes import MOST_MAILBOX_CHARS, is_mail_address
from streams.domain.outputs.notification import NotificationKind, Severity
from streams.domain.validation import MalformedError
from streams.notices.model import DestinationKind, Subscription, kinds_of
from streams.notices.reach import GuardRules, UrlError, check_url
from streams.notices.times import MINUTES_OF_DAY, zone_of
from streams.texts.languages import NAMES

MOST_NAME_CHARS: Final = 100
MOST_ADDRESS_CHARS: Final = 2_000
MOST_PATTERN_CHARS: Final = 255
_APPRISE: Final = re.compile(r"[a-z][a-z0-9+.-]{0,30}://[!-~]+")
_ANYWHERE: Final = GuardRules((ip_network("0.0.0.0/0"), ip_network("::/0")))
"""Which networks the operator allows, whoever sends knows: here a URL only has to be one."""


def check_destination(kind: DestinationKind, name: str, address: str, language: str, zone: str) -> None:
    """Refuse what a destination cannot be made of.

    Raises:
        MalformedError: a value is none; the message says what it must be.
        ZoneError: the time zone is not known.
    """
    if not 0 < len(name) <= MOST_NAME_CHARS or not name.isprintable():
        _refuse("name", name, f"must be 1 to {MOST_NAME_CHARS} printable characters")
    if kind is DestinationKind.MAIL:
        check_mail_address("address", address)
    elif kind is DestinationKind.APPRISE:
        _check_apprise(address)
    else:
        _check_url(address)
    if language not in NAMES:
        _refuse("language", language, f"must be one of {', '.join(NAMES)}")
    zone_of(zone)


def check_kind(tenant: str, kind: DestinationKind) -> None:
    """Refuse a kind of destination that a tenant may not have.

    Raises:
        MalformedError: it may not.
    """
    kinds = kinds_of(tenant)
    if kind not in kinds:
        _refuse("kind", kind, f"must be one of {', '.join(kinds)}")


def check_mail_address(field: str, address: str) -> None:
    """Refuse what is no address of a mailbox.

    Raises:
        MalformedError: it is none.
    """
    if not is_mail_address(address):
        _refuse(
            field, address, f"must be an address such as admin@contoso.com, of at most {MOST_MAILBOX_CHARS} characters"
        )


def check_subscription(subscription: Subscription) -> None:
    """Refuse a subscription that cannot be followed.

    Raises:
        MalformedError: a value is none; the message says what it must be.
    """
    kinds = subscription.kinds
    if kinds is not None and (not kinds or not set(kinds) <= set(NotificationKind)):
        _refuse("kinds", ",".join(kinds), f"must be one or several of {', '.join(NotificationKind)}")
    if subscription.least_severity not in list(Severity):
        _refuse("least_severity", subscription.least_severity, f"must be one of {', '.join(Severity)}")
    pattern = subscription.servers
    if pattern is not None and (not 0 < len(pattern) <= MOST_PATTERN_CHARS or not pattern.isprintable()):
        _refuse("servers", pattern, f"must be 1 to {MOST_PATTERN_CHARS} printable characters")
    quiet = (subscription.quiet_from, subscription.quiet_to)
    if (quiet[0] is None) != (quiet[1] is None):
        _refuse("quiet_from", str(quiet[0]), "needs quiet_to, and quiet_to needs quiet_from")
    if quiet[0] is not None and quiet[0] == quiet[1]:
        _refuse("quiet_to", str(quiet[1]), "must differ from quiet_from")
    for field, value in zip(("daily_at", "quiet_from", "quiet_to"), (subscription.daily_at, *quiet), strict=True):
        if value is not None and not 0 <= value < MINUTES_OF_DAY:
            _refuse(field, str(value), f"must be a minute of the day, 0 to {MINUTES_OF_DAY - 1}")


def known_kinds(kinds: Sequence[str] | None) -> tuple[str, ...] | None:
    """Kinds of notices in one order, each once."""
    return None if kinds is None else tuple(sorted(set(kinds)))


def _check_url(address: str) -> None:
    if len(address) > MOST_ADDRESS_CHARS:
        _refuse("address", address, f"must have at most {MOST_ADDRESS_CHARS} characters")
    try:
        check_url(address, _ANYWHERE)
    except UrlError as error:
        _refuse("address", address, str(error))


def _check_apprise(address: str) -> None:
    # Whether Apprise knows it, only whoever sends can say. It is not shown: most of it is secret.
    if len(address) > MOST_ADDRESS_CHARS or _APPRISE.fullmatch(address) is None:
        raise MalformedError(f"address: must be one of Apprise in ASCII, of at most {MOST_ADDRESS_CHARS} characters")


def _refuse(field: str, value: str, rule: str) -> None:
    raise MalformedError(f"{field}: {value[:80]!r:.100}: {rule}")
