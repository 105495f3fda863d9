"""The secrets that webhooks are signed with, in the form of the Standard Webhooks specification."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Final

SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
"""By the specification."""


class SigningKeyError(ValueError):
    """A text that is no key; the message says what it has to be, never what it is."""


def make_secret() -> str:
    """A new secret of a destination, as its receiver is given it: `whsec_` and base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def check_secret(text: str) -> None:
    """Check a secret that somebody else made.

    Raises:
        SigningKeyError: it is none.
    """
    raw = decode_key(text, SECRET_PREFIX)
    if not LEAST_SECRET_BYTES <= len(raw) <= MOST_SECRET_BYTES:
        raise SigningKeyError(f"a secret must have {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES} bytes")


def decode_key(text: str, prefix: str) -> bytes:
    """The bytes of a key in base64 behind its prefix.

    Raises:
        SigningKeyError: it is none.
    """
    if not text.startswith(prefix):
        raise SigningKeyError(f"must begin with {prefix}")
    try:
        return base64.b64decode(text[len(prefix) :], validate=True)
    except (binascii.Error, ValueError):
        raise SigningKeyError(f"must be base64 behind {prefix}") from None
