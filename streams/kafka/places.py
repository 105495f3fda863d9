"""Where a record stands."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A partition of a topic by its whole name."""

    topic: str
    partition: int
