"""The MTA's side of the milter protocol."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from streams.edge.milter.codec import FrameReader
from streams.edge.milter.session import Session
from tests.support.door import Doorway

POSTFIX_OFFER = (6, 0x1FF, 0x1FFFFF)
"""Version, actions and steps of Postfix 3.7."""
LINE = b"from a by mx1.example.com (192.0.2.1) with Microsoft SMTP Server id %s; Tue, 1 Sep 2026 00:00:00 +0000"
OLD_LINE = LINE % b"15.1.2507.39"


@dataclass
class MilterTold:
    """What a milter told."""

    opened_count: int = 0
    closed_count: int = 0
    turned_away_count: int = 0
    errors: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)

    def opened(self) -> None:
        self.opened_count += 1

    def closed(self) -> None:
        self.closed_count += 1

    def turned_away(self) -> None:
        self.turned_away_count += 1

    def protocol_error(self, reason: str) -> None:
        self.errors.append(reason)

    def unattributed(self, reason: str) -> None:
        self.reasons.append(reason)

    def failed(self, where: str, error: Exception) -> None:
        self.failures.append((where, error))


def frame(command: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 1 + len(content)) + command + content


def offer(version: int = 6, actions: int = 0x1FF, steps: int = 0x1FFFFF) -> bytes:
    return frame(b"O", struct.pack(">III", version, actions, steps))


def macros(command: bytes, values: dict[bytes, bytes]) -> bytes:
    return frame(b"D", command + b"".join(name + b"\0" + value + b"\0" for name, value in values.items()))


def connect(address: bytes = b"192.0.2.1", family: bytes = b"4") -> bytes:
    return frame(b"C", b"client.example\0" + family + b"\x30\x39" + address + b"\0")


def strings(command: bytes, *texts: bytes) -> bytes:
    return frame(command, b"".join(text + b"\0" for text in texts))


def message(lines: Iterable[bytes] = (OLD_LINE,), recipients: int = 1) -> list[bytes]:
    """The frames of a message, from MAIL to the end of its headers."""
    return [
        strings(b"M", b"<a@example.com>", b"SIZE=10"),
        *[strings(b"R", b"<b@example.com>")] * recipients,
        *[strings(b"L", b"Received", line) for line in lines],
        frame(b"N"),
    ]


def greeting(name: bytes = b"mx1.example.com") -> bytes:
    return strings(b"H", name)


def frames_of(data: bytes) -> list[tuple[str, bytes]]:
    """Command and content of each frame of whole ones."""
    return [(chr(command), content) for command, content in FrameReader().feed(data)]


class Dialogue:
    """An MTA that talks to a session; what it sends has a connection behind it, unless `is_raw`."""

    def __init__(self, doorway: Doorway | None = None, *, is_raw: bool = False, offered: bytes | None = None) -> None:
        self.doorway, self.told = doorway or Doorway(), MilterTold()
        self.session, self._reader = Session(self.doorway.door, self.told), FrameReader()
        if not is_raw:
            self.send(offered or offer(), connect(), greeting())

    def send(self, *frames: bytes) -> list[tuple[str, bytes]]:
        """Send frames; returns the answers."""
        parts = [self.session.receive(command, content) for command, content in self._reader.feed(b"".join(frames))]
        return frames_of(b"".join(parts))

    def verbs(self, *frames: bytes) -> str:
        """Send frames; returns the letters of the answers."""
        return "".join(command for command, _ in self.send(*frames))
