"""Header lines repeat but for their date: what stands in front of it is parsed once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from streams.domain.build import Build, parse_build
from streams.domain.headers import MAX_LINES, Origin, ReceivedLine, is_higher, origin_of, parse_received

MAX_CACHED_LINES: Final = 50_000
MAX_CACHED_CHARS: Final = 1024
"""Of a line; real ones have a few hundred, and others must not fill the memory."""
_NUMBERS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){2,3}")
"""What a build can be read from, whatever stands around it."""

_build = lru_cache(maxsize=50_000)(parse_build)


class LineCache:
    """Parsed lines by their text in front of the date; emptied when it holds too many."""

    def __init__(self) -> None:
        self._lines: dict[str, ReceivedLine] = {}

    def parse(self, line: str) -> ReceivedLine:
        """What `parse_received` gives."""
        at = line.rfind(";")
        # A comment behind the last semicolon may reach back in front of it, so all of the line counts. Such a line, or
        # one without a date, is not cached: its text can stand in front of another line's date, and read otherwise.
        if at < 0 or len(line) > MAX_CACHED_CHARS or "(" in line[at:] or ")" in line[at:]:
            return parse_received(line)
        key = line[:at]
        found = self._lines.get(key)
        if found is None:
            if len(self._lines) >= MAX_CACHED_LINES:
                self._lines.clear()
            found = parse_received(line)
            # A line without a build has the id of its message, which no other one has.
            if found.build is not None:
                self._lines[key] = found
        return found

    def find(self, received: list[str]) -> tuple[str, Build | None] | None:
        """The connecting server and its build, None for a gateway's; None where the long way has to be taken.

        Gives what `detect` does, for lines that name their host and are a gateway's, or Exchange's with a build.
        """
        if not received:
            return None
        top = self.parse(received[0])
        host = top.by_host
        if host is None or len(host) > 255:
            return None
        origin = origin_of(top)
        if origin is Origin.GATEWAY:
            return host, None
        if origin is not Origin.EXCHANGE:
            return None
        best = top.build
        for raw in received[1:MAX_LINES]:
            if best is not None and len(raw) <= MAX_CACHED_CHARS and not _can_raise(raw, best):
                continue
            line = self.parse(raw)
            if line.by_host == host and line.build is not None and is_higher(line.build, best):
                best = line.build
        return None if best is None else (host, best)


def _can_raise(line: str, best: Build) -> bool:
    """Whether any number in a line stands above the best build; where none does, the line need not be parsed."""
    return any(is_higher(_build(number), best) for number in _NUMBERS.findall(line))
