"""Header lines repeat but for their date: what stands in front of it is parsed once.

Of the lines below the topmost one only those matter that name the same host with a higher build. Most cannot, which is
seen without parsing them.
"""

from __future__ import annotations

from typing import Final

from streams.domain.build import Build, parse_build
from streams.domain.headers import MAX_LINES, Origin, ReceivedLine, is_higher, origin_of, parse_received

MAX_CACHED_LINES: Final = 50_000
MAX_CACHED_CHARS: Final = 1024
"""Of a line; real ones have a few hundred, and others must not fill the memory."""
MAX_HOST_CHARS: Final = 255
_SHAPE: Final = bytes(48 if 48 <= code <= 57 else 46 if code == 46 else 32 for code in range(256))
"""Turns every digit into 0, and all but dots into blanks."""


class _Known:
    """A parsed line.

    `host` is None where the line alone cannot name the server. `claim` is its build of four parts as it stands there,
    with the ` id ` in front of it; None where no other line can be compared by it.
    """

    __slots__ = ("claim", "host", "line", "origin")

    def __init__(self, text: bytes) -> None:
        self.line: ReceivedLine = parse_received(text.decode("ascii"))
        self.origin: Origin = origin_of(self.line)
        name = self.line.by_host
        is_plain = name is not None and name.isascii() and len(name) <= MAX_HOST_CHARS
        self.host: bytes | None = name.encode() if name is not None and is_plain else None
        build = self.line.build
        self.claim: bytes | None = None if build is None or build.update is None else _claim_in(text, build)


def _claim_in(line: bytes, build: Build) -> bytes | None:
    for clause in line.split(b" id ")[1:]:
        number = clause.split(b";", 1)[0].split(b" ", 1)[0]
        try:
            if parse_build(number.decode("ascii")) == build:
                return b" id " + number
        except ValueError:
            continue
    return None


class LineCache:
    """Parsed lines by their text in front of the date; of more than `most` those go that were not seen lately."""

    def __init__(self, most: int = MAX_CACHED_LINES) -> None:
        self._half = max(1, most // 2)
        self._lines: dict[bytes, _Known] = {}
        self._older: dict[bytes, _Known] = {}

    def parse(self, line: str) -> ReceivedLine:
        """What `parse_received` gives."""
        return self._find(line.encode()).line if line.isascii() else parse_received(line)

    def _find(self, line: bytes) -> _Known:
        at = line.rfind(b";")
        # A comment behind the last semicolon may reach back in front of it, so all of the line counts. Such a line, or
        # one without a date, is not cached: its text can stand in front of another line's date, and read otherwise.
        if at < 0 or len(line) > MAX_CACHED_CHARS or line.find(b"(", at) >= 0 or line.find(b")", at) >= 0:
            return _Known(line)
        text = line[:at]
        found = self._lines.get(text)
        if found is None:
            found = self._older.get(text) or _Known(line)
            # A line without a build has the id of its message, which no other one has.
            if found.line.build is not None:
                if len(self._lines) >= self._half:
                    self._older, self._lines = self._lines, {}
                self._lines[text] = found
        return found

    def find(self, received: list[bytes]) -> tuple[bytes, Build | None] | None:
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
            if not _can_raise(raw, host, top.claim):
                continue
            line = self._find(raw).line
            if line.by_host == top.line.by_host and line.build is not None and is_higher(line.build, best):
                best = line.build
        return None if best is None else (host, best)


def _can_raise(line: bytes, host: bytes, claim: bytes | None) -> bool:
    """Whether a line may name `host` with a higher build than the one that the topmost line claims.

    Without that name in any case it does not name it; and where no number with a dot is left when all that repeats the
    claim is taken out, it claims no other build.
    """
    if host not in line and host not in line.lower():
        return False
    if claim is None:
        return True
    # In front of one more digit it is the beginning of another build; in front of a dot of none, which has four parts.
    return b"0.0" in line.replace(claim, b"0.").translate(_SHAPE)
