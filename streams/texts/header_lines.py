"""Header lines as people are shown them: every character can be seen, and the build in them is marked."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from streams.domain.exchange.build import parse_build
from streams.visible import visible

_NUMBER: Final = re.compile(r"(?<![\d.])\d{1,9}(?:\.\d{1,9}){2,3}(?!\.?\d)")
_BEHIND_ID: Final = re.compile(r"\bid[ \t\r\n]+$", re.IGNORECASE)
_CUT: Final = "…"


class MarkedLine(NamedTuple):
    """A header line in which every character can be seen, in three parts; `build` is empty where it is not in it."""

    before: str
    build: str
    after: str

    @property
    def text(self) -> str:
        """The line as one text."""
        return "".join(self)

    def within(self, most: int) -> MarkedLine:
        """The line in at most so many characters, which must hold the build: what is far from it goes, on either side.

        An ellipsis says that there was more.
        """
        room = most - len(self.build)
        if len(self.before) + len(self.after) <= room:
            return self
        if not self.build:
            return MarkedLine(_head(self.before, room), "", "")
        # What one side leaves the other one has.
        before = max(room // 2, room - len(self.after))
        after = room - min(before, len(self.before))
        return MarkedLine(_tail(self.before, before), self.build, _head(self.after, after))


def mark_build(line: str, build: str | None) -> MarkedLine:
    """A line split at the build, in either of its notations: the one behind `id` if there is, else the last."""
    found = [number for number in _NUMBER.finditer(line) if build is not None and _is(number[0], build)]
    if not found:
        return MarkedLine(visible(line), "", "")
    stamps = [number for number in found if _BEHIND_ID.search(line, 0, number.start())]
    number = (stamps or found)[-1]
    return MarkedLine(visible(line[: number.start()]), number[0], visible(line[number.end() :]))


def _is(number: str, build: str) -> bool:
    try:
        return parse_build(number) == parse_build(build)
    except ValueError:
        return False


def _head(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + _CUT


def _tail(text: str, most: int) -> str:
    return text if len(text) <= most else _CUT + text[len(text) - most + 1 :]
