"""Signatures of webhooks by the Standard Webhooks specification: v1 (a shared secret) and v1a (Ed25519), side by side.

A receiver needs to check only one of them. While a secret is rotated, the former one signs too.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks import Webhook

from streams.notices.model import Destination
from streams.notices.webhook_secrets import SigningKeyError, check_secret, decode_key

PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"
_SEED_BYTES: Final = 32
_PAIR_BYTES: Final = 64


class KeyPair:
    """The sender's Ed25519 key, one for all destinations: whoever has its public part can check, and not forge."""

    def __init__(self, text: str) -> None:
        """Read a private key: `whsk_` and base64 of its 32 bytes, or of these and the 32 bytes of its public part.

        Raises:
            SigningKeyError: it is none.
        """
        raw = decode_key(text, PRIVATE_PREFIX)
        if len(raw) not in (_SEED_BYTES, _PAIR_BYTES):
            raise SigningKeyError(f"a private key must have {_SEED_BYTES} or {_PAIR_BYTES} bytes")
        self._key = Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        if raw[_SEED_BYTES:] not in (b"", public):
            raise SigningKeyError("the two parts of a private key must belong together")
        self.public = PUBLIC_PREFIX + base64.b64encode(public).decode()

    def sign(self, content: bytes) -> str:
        """The signature as a header has it."""
        return "v1a," + base64.b64encode(self._key.sign(content)).decode()


def make_private_key() -> str:
    """A new private key, as `KeyPair` reads it."""
    return PRIVATE_PREFIX + base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()


def sign_message(
    destination: Destination, message_id: str, at: int, body: bytes, keys: KeyPair | None = None
) -> dict[str, str]:
    """The headers that prove who sent a body, and when (`at`, UTC milliseconds).

    Raises:
        SigningKeyError: the destination has no usable secret, and there is no key pair.
    """
    # The library signs something else, without a word, for bytes and for a moment with another zone than UTC.
    moment, text = datetime.fromtimestamp(at // 1000, UTC), body.decode()
    signatures = [Webhook(secret).sign(message_id, moment, text) for secret in _secrets_of(destination, at)]
    if keys is not None:
        signatures.append(keys.sign(f"{message_id}.{at // 1000}.{text}".encode()))
    if not signatures:
        raise SigningKeyError("a webhook must have a secret")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at // 1000),
        "webhook-signature": " ".join(signatures),
    }


def _secrets_of(destination: Destination, at: int) -> Iterator[str]:
    if destination.secret:
        check_secret(destination.secret)
        yield destination.secret
    if destination.former_secret and at < (destination.former_secret_until or 0):
        check_secret(destination.former_secret)
        yield destination.former_secret
