"""Sealed texts: encrypted and authenticated (JWE, A256GCM), so that a browser can keep what only the report reads."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, Final

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwe import JWERegistry
from joserfc.jwk import OctKey

MOST_SEALED_CHARS: Final = 4_096
"""No browser keeps a longer cookie."""
_HEADER: Final = {"alg": "dir", "enc": "A256GCM"}
_REGISTRY: Final = JWERegistry(algorithms=list(_HEADER.values()))


def derive_key(secret: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose; keys of different purposes say nothing of each other."""
    return hmac.digest(secret, b"tes report " + purpose.encode(), hashlib.sha256)


class Seal:
    """Seals and opens texts of one purpose."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        """A text that was sealed for another purpose is not opened."""
        self._key = OctKey.import_key(derive_key(secret, purpose))

    def seal(self, content: list[Any]) -> str:
        """A text that shows nothing of its content: letters, digits, `-`, `_` and dots."""
        return jwe.encrypt_compact(_HEADER, json.dumps(content).encode(), self._key, registry=_REGISTRY)

    def open(self, text: str) -> list[Any] | None:
        """What was sealed; None if it was changed, sealed by another key, or is nothing of the kind."""
        if not text or len(text) > MOST_SEALED_CHARS:
            return None
        try:
            content = json.loads(jwe.decrypt_compact(text.encode(), self._key, registry=_REGISTRY).plaintext or b"")
        except (JoseError, ValueError, RecursionError):
            return None
        return content if isinstance(content, list) else None
