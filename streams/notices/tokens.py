"""Texts that prove who was sent a message: they confirm a destination, or end what it is sent. None is stored."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from streams.notices.model import Destination

_SIGNATURE_BYTES: Final = 16
_BOUNCE_BYTES: Final = 8
"""All that an address has room for; who forges it could at most have us look at a destination."""
_MOST_CHARS: Final = 500
_BETWEEN: Final = "\n"
_BOUNCE_TOKEN: Final = re.compile(r"[0-9a-f]{32}[0-9a-f]{16}")


class Purpose(StrEnum):
    """What a token is good for."""

    CONFIRM = "confirm"
    UNSUBSCRIBE = "unsubscribe"
    BOUNCE = "bounce"


class Told(NamedTuple):
    """Whom a token was sent to."""

    tenant_id: str
    destination_id: str


class TokenError(ValueError):
    """A token was not given out for this."""


def make_token(key: bytes, purpose: Purpose, told: Told, challenge: str = "") -> str:
    """A token of letters, digits, `-` and `_`.

    Args:
        key: of links.
        purpose: what it is good for.
        told: whom it is sent to.
        challenge: of the destination; with another one it is good no more.
    """
    body = _BETWEEN.join(told).encode()
    return _text_of(_signature(key, purpose, body, challenge) + body)


def whose_token(token: str) -> Told:
    """Whom a token says that it was sent to; whether that is true, `check_token` tells.

    Raises:
        TokenError: it says nothing.
    """
    try:
        if len(token) > _MOST_CHARS:
            raise TokenError("token: too long")
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        tenant_id, destination_id = raw[_SIGNATURE_BYTES:].decode().split(_BETWEEN)
    except ValueError:
        raise TokenError("token: must be one that this service gave out") from None
    return Told(tenant_id, destination_id)


def check_token(key: bytes, purpose: Purpose, token: str, challenge: str = "") -> Told:
    """Whom a token was sent to.

    Raises:
        TokenError: it was not given out for this.
    """
    told = whose_token(token)
    if not hmac.compare_digest(token.encode(), make_token(key, purpose, told, challenge).encode()):
        raise TokenError("token: must be one that this service gave out")
    return told


def make_bounce_token(key: bytes, destination: Destination) -> str:
    """What names a destination in the address of its bounces: at most 50 digits and letters, of whatever case.

    It begins with the 32 hexadecimal digits of the destination's id; what follows nobody else can make.
    """
    told = Told(destination.tenant_id, destination.destination_id)
    signature = _signature(key, Purpose.BOUNCE, _BETWEEN.join(told).encode(), "")
    return destination.destination_id.replace("-", "") + signature[:_BOUNCE_BYTES].hex()


def whose_bounce_token(token: str) -> tuple[str, str]:
    """The id of the destination that such a text names, in either of the forms that ids have; none is checked.

    Raises:
        TokenError: it names none.
    """
    if _BOUNCE_TOKEN.fullmatch(token.lower()) is None:
        raise TokenError("token: must be one that this service gave out")
    digits = token[:32].lower()
    return digits, str(UUID(digits))


def _signature(key: bytes, purpose: Purpose, body: bytes, challenge: str) -> bytes:
    signed = f"{purpose}{_BETWEEN}{challenge}{_BETWEEN}".encode() + body
    return hmac.new(key, signed, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


def _text_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
