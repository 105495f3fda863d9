"""The ids of records: the same name always has the same id, so that a repeated record can be told."""

from __future__ import annotations

import uuid
from typing import Final

try:
    # In caches that other processes have used, OpenSSL's takes twice as long for so little.
    from _sha1 import sha1  # type: ignore[import-not-found]
except ImportError:  # a Python that was built without its own
    from hashlib import sha1

_NAMESPACE: Final = uuid.UUID("6f7d1a52-5d0b-5c62-9a54-0d6a6b2f4c11")


def stable_id(name: str) -> str:
    """The UUIDv5 of a name in the product's own namespace."""
    # `uuid.uuid5` takes several times as long: it imports its hash and makes an object for each id.
    digest = sha1(_NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    return uuid_of(digest, 5)


def uuid_of(digits: str, version: int) -> str:
    """The UUID of a version whose other bits are those of at least 32 hexadecimal digits."""
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"
