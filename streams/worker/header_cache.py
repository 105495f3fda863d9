"""Topmost header lines repeat but for their date: what stands in front of it tells the server and its build once.

The lines below matter only as far as the unbroken run of the host goes, and only where they name that host with another
build. Most cannot, which is seen without parsing them.
"""

from __future__ import annotations

from typing import Any, Final

from streams.domain.bounds import MAX_SERVER_CHARS
from streams.domain.exchange.any_form import ReceivedLine
from streams.domain.exchange.build import Build, parse_build
from streams.domain.exchange.detection import MAX_LINES, HostRun, Origin, is_higher, origin_of
from streams.domain.exchange.received import parse_received
from streams.state.keys import raw_server_key
from streams.wire.fast_connection import TENANT_AT, FastConnection

MAX_CACHED_CHARS: Final = 1024
"""Of a line's text in front of its date; real ones have a few hundred, and others must not fill the memory."""
LINE_BYTES: Final = 1_036
"""What a line is taken to have in memory."""
_ENTRY_MEMORY: Final = 880
"""Of an entry as objects, its texts aside, and of its ticket with what is left of a row that went."""
MAX_GATEWAYS: Final = 4096
"""Lines without a build that are remembered without their message's id; a tenant has few gateways."""
MAX_LINES_BELOW: Final = 4096
"""Lines below a topmost one that are remembered; each host has a few."""
MAX_DATE_CHARS: Final = 64
"""Of a plain date, with the semicolon in front of it."""
_MAX_BUILD_CHARS: Final = 39
"""Four numbers of nine digits, which `parse_build` takes at most, and three dots."""
_SHAPE: Final[bytes] = bytes(48 if 48 <= code <= 57 else 46 if code == 46 else 32 for code in range(256))
"""Turns every digit into 0, and all but dots into blanks."""
_NUMBER: Final = b"0.0"
"""A number with a dot, in that shape."""
_FOREIGN: Final[bytes] = bytes(33 if chr(code) in '()<>"\\.' else 32 for code in range(256))
"""Turns what no date has, and what could matter if one had it, into exclamation marks."""


class ShownServer(HostRun):
    """What a connection shows: its server's row, and what its lines tell; the build is None for a gateway's."""

    __slots__ = ("key",)

    def __init__(
        self, key: bytes, host: bytes, by_address: bytes, build: Build | None, protocol: str | None, position: int = 0
    ) -> None:
        super().__init__(host, by_address, build, protocol, position)
        self.key = key


class CachedHeader:
    """What a topmost line tells of the server that connects for a tenant.

    `shown` is None where the line alone cannot name the server, `name` and `host` are the name of the line's host.
    `repeats` is whether other connections have the same text in front of the date. `claim` is its build of four parts
    as it stands there, with the ` id ` in front of it; empty where there is none, and no other line can be compared by
    it. `ticket` is what the counting kernel keeps with it, None where there is nothing.
    """

    __slots__ = ("claim", "host", "is_from_itself", "name", "repeats", "shown", "ticket")

    def __init__(self, tenant_id: bytes, text: bytes) -> None:
        line = parse_received(text.decode("ascii"))
        origin, build = origin_of(line), line.build
        # A line without a build has the id of its message, which no other one has.
        self.repeats: bool = build is not None
        self.is_from_itself: bool = line.is_from_itself
        self.shown: ShownServer | None = None
        self.name: str | None = line.by_host
        self.host: bytes = b""
        if self.name is not None and len(self.name) <= MAX_SERVER_CHARS:
            self.host = self.name.encode()
            if origin is Origin.GATEWAY or (origin is Origin.EXCHANGE and build is not None):
                key, by_address = raw_server_key(tenant_id, self.host), (line.by_address or "").encode()
                self.shown = ShownServer(key, self.host, by_address, build, line.protocol)
        self.ticket: Any = None
        self.claim: bytes = b"" if build is None or build.update is None else _claim_in(text, build)

    @property
    def memory_bytes(self) -> int:
        """What it takes in memory at most, the text that it is found by aside."""
        return _ENTRY_MEMORY + len(self.host) + len(self.claim) + (len(self.shown.key) if self.shown else 0)

    def may_claim_higher_build(self, line: bytes, date_at: int) -> bool:
        """Whether a line below, whose plain date begins at `date_at`, may name the host with a higher build.

        Without that name in any case it does not name it; and where no number with a dot is left when all that repeats
        the claim is taken out, it claims no other build.
        """
        if self.claim:
            # Most lines end with the claim. Elsewhere it begins another build in front of one more digit; in front of a
            # dot none, as it has four parts.
            text = line[:date_at]
            text = text[: -len(self.claim)] if text.endswith(self.claim) else line.replace(self.claim, b"0.")
            if text.translate(_SHAPE).find(_NUMBER) < 0:
                return False
        return line.find(self.host) >= 0 or line.lower().find(self.host) >= 0


def _claim_in(line: bytes, build: Build) -> bytes:
    at = line.rfind(b" id ")
    while at >= 0:
        number = line[at + 4 : at + 4 + _MAX_BUILD_CHARS + 1].split(b";", 1)[0].split(b" ", 1)[0]
        try:
            if parse_build(number.decode("ascii")) == build:
                return b" id " + number
        except ValueError:
            pass
        at = line.rfind(b" id ", 0, at)
    return b""


def _date_at(line: bytes) -> int:
    """Where the line's date begins, with its semicolon; at the line's end where what stands there may matter.

    A comment that ends in it may begin in front of it, and a number with a dot may be a build.
    """
    at = line.rfind(b";")
    date = line[at:]
    if at < 0 or len(date) > MAX_DATE_CHARS or date.translate(_FOREIGN).find(b"!") >= 0:
        return len(line)
    return at


def id_at(text: bytes) -> int:
    """Where the id of the message begins that ends a line's text in front of the date; -1 where none surely does.

    Letters and digits, both of them, are neither a build nor a word of a line's own: whatever they are, the rest of the
    line says the same.
    """
    at = text.rfind(b" id ") + 4
    token = text[at:]
    return at if at >= 4 and token.isalnum() and not token.isalpha() and not token.isdigit() else -1


class HeaderCache:
    """Topmost lines by tenant and text in front of the date; `lines` are those that were seen lately.

    Where they take more than the bytes of `most` lines, those go that were not seen lately.
    """

    def __init__(self, most: int) -> None:
        self._half_bytes = most * LINE_BYTES * 3 // 8
        self._bytes = self._older_bytes = 0
        self.lines: dict[bytes, CachedHeader] = {}
        self._older: dict[bytes, CachedHeader] = {}
        self._single_text = b""
        self._single: CachedHeader | None = None
        self._gateways: dict[bytes, CachedHeader] = {}
        self._gateways_bytes = 0
        self._runs: dict[bytes, ReceivedLine] = {}
        self._most_beside_bytes = most * LINE_BYTES // 8
        self._runs_bytes = 0

    @property
    def counted_bytes(self) -> int:
        """What the lines take in memory, as it is counted."""
        return self._bytes + self._older_bytes + self._runs_bytes + self._gateways_bytes

    def find(self, value: bytes, found: FastConnection) -> ShownServer | None:
        """The server that connects and its build; None where the long way is needed.

        `found` is what `value` projects to; its `run` becomes what is returned. Gives what `detect` does, for lines
        that name their host and are a gateway's, or Exchange's with a build.
        """
        received = found.received
        if not received:
            return None
        top = self._top(value, found, received[0])
        shown = top.shown
        if top.is_from_itself and shown is not None and shown.build is not None:
            for raw in received[1:MAX_LINES]:
                if top.may_claim_higher_build(raw, _date_at(raw)):
                    shown = self._highest_of_run(received, top, shown)
                    break
        found.run = shown
        return shown

    def _highest_of_run(self, received: list[bytes], top: CachedHeader, shown: ShownServer) -> ShownServer:
        for position, raw in enumerate(received[1:MAX_LINES], 1):
            line = self._below(raw)
            if line.by_host != top.name:
                break
            if is_higher(line.build, shown.build):
                shown = ShownServer(shown.key, shown.host, shown.by_address, line.build, line.protocol, position)
            if not line.is_from_itself:
                break
        return shown

    def _below(self, raw: bytes) -> ReceivedLine:
        at = _date_at(raw)
        text = raw[:at]
        line = self._runs.get(text)
        if line is None:
            line = parse_received(raw.decode("ascii"))
            # A line without a build has the id of its message, which no other one has.
            if line.build is not None and at < len(raw) and at <= MAX_CACHED_CHARS:
                if len(self._runs) >= MAX_LINES_BELOW or self._runs_bytes >= self._most_beside_bytes:
                    self._runs.clear()
                    self._runs_bytes = 0
                self._runs[text] = line
                self._runs_bytes += _ENTRY_MEMORY + 2 * len(text)
        return line

    def _top(self, value: bytes, found: FastConnection, line: bytes) -> CachedHeader:
        at = _date_at(line)
        if at == len(line) or at > MAX_CACHED_CHARS:
            return CachedHeader(found.tenant_id, line)
        if (end := id_at(line[:at])) >= 0:
            return self._gateway(value[TENANT_AT : found.top_at + end], found, line)
        text = value[TENANT_AT : found.top_at + at]
        top = self.lines.get(text)
        return self._add(text, found.tenant_id, line) if top is None else top

    def add(self, text: bytes, tenant_id: bytes, line: bytes) -> CachedHeader | None:
        """What a topmost line tells; None where it may end with the id of its message, and is not cached.

        `text` is what the value has from its tenant to the line's plain date, which there is.
        """
        top = self.lines.get(text)  # it may have come there since whoever asks was given `lines`
        if top is not None:
            return top
        return None if id_at(text) >= 0 else self._add(text, tenant_id, line)

    def _add(self, text: bytes, tenant_id: bytes, line: bytes) -> CachedHeader:
        top = self._older.get(text)
        if top is None and text == self._single_text:
            top = self._single
        if top is None:
            top = CachedHeader(tenant_id, line)
        if not top.repeats:
            # The kernel asks for it, and whoever counts what the kernel leaves.
            self._single_text, self._single = text, top
        else:
            if self._bytes >= self._half_bytes:
                self._older, self._older_bytes = self.lines, self._bytes
                self.lines, self._bytes = {}, 0
            self.lines[text] = top
            self._bytes += len(text) + top.memory_bytes
        return top

    def _gateway(self, text: bytes, found: FastConnection, line: bytes) -> CachedHeader:
        top = self._gateways.get(text)
        if top is None:
            top = CachedHeader(found.tenant_id, line)
            if not top.repeats:
                if len(self._gateways) >= MAX_GATEWAYS or self._gateways_bytes >= self._most_beside_bytes:
                    self._gateways.clear()
                    self._gateways_bytes = 0
                self._gateways[text] = top
                self._gateways_bytes += len(text) + top.memory_bytes
        return top
