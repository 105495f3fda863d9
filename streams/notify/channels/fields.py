"""A notice's fields, bounded: a record may have text of 100 kB, and no channel takes that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from streams.domain.bounds import MAX_EVIDENCE_CHARS

MAX_TITLE_CHARS: Final = 300
MAX_TEXT_CHARS: Final = 4_000
MAX_CVES: Final = 64
"""Of the vulnerabilities of a build; a mail and a card show fewer still."""
CUT: Final = "…"


def cut(text: str, most: int) -> str:
    """Text of at most so many characters; an ellipsis says that there was more."""
    return text if len(text) <= most else text[: most - 1].rstrip() + CUT


class Bounds(NamedTuple):
    """The most characters of a text, a title, a header line and any other field."""

    text: int = MAX_TEXT_CHARS
    title: int = MAX_TITLE_CHARS
    received: int = MAX_EVIDENCE_CHARS
    other: int = 512


_BOUNDED: Final = frozenset(("text", "title", "received"))
"""The fields that have a bound of their own, by its name."""

USUAL: Final = Bounds()
TIGHT: Final = Bounds(text=600, title=150, received=300, other=128)
"""Where the usual ones leave too much: a character outside ASCII is six in JSON."""


def bounded(record: Mapping[str, Any], bounds: Bounds = USUAL) -> tuple[dict[str, Any], list[str]]:
    """A record with every field of a bounded length, and the names of the fields that were cut."""
    shown = {name: _bounded(name, value, bounds) for name, value in record.items()}
    return shown, [name for name, value in record.items() if shown[name] != value]


def _bounded(name: str, value: Any, bounds: Bounds) -> Any:
    if isinstance(value, str):
        return cut(value, getattr(bounds, name, bounds.other) if name in _BOUNDED else bounds.other)
    if isinstance(value, dict):
        return {key: _bounded(key, item, bounds) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_bounded("", item, bounds) for item in value[:MAX_CVES]]
    return value
