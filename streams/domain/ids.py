"""The ids of records: the same name always has the same id, so that a repeated record can be told."""

from __future__ import annotations

import uuid
from typing import Final

_NAMESPACE: Final = uuid.UUID("6f7d1a52-5d0b-5c62-9a54-0d6a6b2f4c11")


def stable_id(name: str) -> str:
    """The UUIDv5 of a name in the product's own namespace."""
    return str(uuid.uuid5(_NAMESPACE, name))
