"""Records as a client fetches them."""

from __future__ import annotations

from typing import NamedTuple


class FakeRecord(NamedTuple):
    """A record as it is fetched."""

    topic: str
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
