"""Header lines repeat but for their date: what stands in front of it is parsed once.

Of the lines below the topmost one only those matter that name the same host with a higher build. Most cannot, which is
seen without parsing them.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from streams.domain.build import Build
from streams.domain.headers import MAX_LINES, Origin, ReceivedLine, is_higher, origin_of, parse_received

MAX_CACHED_LINES: Final = 50_000
MAX_CACHED_CHARS: Final = 1024
"""Of a line; real ones have a few hundred, and others must not fill the memory."""
MAX_HOST_CHARS: Final = 255
_TAIL: Final = re.compile(r"\.[0-9]+\.[0-9][0-9.]*")
"""A number of three parts or more, without its first one: patterns that begin with a letter of their own are fast."""


class _Known(NamedTuple):
    """A parsed line.

    `host` is None where the line alone cannot name the server. `claim` is the build as a line claims it, and `tail`
    that text from its first dot on.
    """

    line: ReceivedLine
    host: bytes | None
    origin: Origin
    claim: str
    tail: str


def _known(text: str) -> _Known:
    line = parse_received(text)
    number = str(line.build or "")
    name = line.by_host
    is_plain = name is not None and name.isascii() and len(name) <= MAX_HOST_CHARS
    host = name.encode() if name is not None and is_plain else None
    return _Known(line, host, origin_of(line), f" id {number}", number[number.find(".") :])


class LineCache:
    """Parsed lines by their text in front of the date; emptied when it holds too many."""

    def __init__(self) -> None:
        self._lines: dict[str, _Known] = {}

    def parse(self, line: str) -> ReceivedLine:
        """What `parse_received` gives."""
        return self._find(line).line

    def _find(self, line: str) -> _Known:
        at = line.rfind(";")
        found = self._lines.get(line[:at]) if at > 0 else None
        # A comment behind the last semicolon may reach back in front of it, so all of the line counts. Such a line, or
        # one without a date, is not cached: its text can stand in front of another line's date, and read otherwise.
        if at < 0 or len(line) > MAX_CACHED_CHARS or line.find("(", at) >= 0 or line.find(")", at) >= 0:
            return _known(line)
        if found is None:
            found = _known(line)
            # A line without a build has the id of its message, which no other one has.
            if found.line.build is not None:
                if len(self._lines) >= MAX_CACHED_LINES:
                    self._lines.clear()
                self._lines[line[:at]] = found
        return found

    def find(self, received: list[str]) -> tuple[bytes, Build | None] | None:
        """The connecting server and its build, None for a gateway's; None where the long way has to be taken.

        Gives what `detect` does, for ASCII lines that name their host and are a gateway's, or Exchange's with a build.
        """
        if not received:
            return None
        top = self._find(received[0])
        host = top.host
        if host is None:
            return None
        if top.origin is Origin.GATEWAY:
            return host, None
        if top.origin is not Origin.EXCHANGE:
            return None
        best = top.line.build
        for raw in received[1:MAX_LINES]:
            if not _can_raise(raw, top):
                continue
            line = self._find(raw).line
            if line.by_host == top.line.by_host and line.build is not None and is_higher(line.build, best):
                best = line.build
        return None if best is None else (host, best)


def _can_raise(line: str, top: _Known) -> bool:
    """Whether a line may name the host of the topmost one with a higher build than that one's.

    Without its name in any case it does not name it; and where all its numbers are that build, behind ` id `, it claims
    no other one.
    """
    host = top.line.by_host
    if host is None or host not in line.lower():
        return False
    tails = _TAIL.findall(line)
    return line.count(top.claim) != len(tails) or any(tail != top.tail for tail in tails)
