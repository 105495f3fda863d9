"""Fakes for tests of a processor or of the engine, without a broker."""

from __future__ import annotations

from typing import NamedTuple


class FakeRecord(NamedTuple):
    """A record as a client fetches it. `timestamp` is in milliseconds since 1970."""

    topic: str
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
