"""The milter protocol in bytes. Nothing that a client wrote is decoded here, so no text of his can end a session."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.domain.outputs.replies import MAX_REPLY_BYTES

MAX_FRAME_BYTES: Final = 1 << 20
VERSION: Final = 6
OLDEST_VERSION: Final = 2

OPTNEG, MACRO, CONNECT, HELO, MAIL, RCPT, DATA = b"ODCHMRT"
UNKNOWN, HEADER, END_OF_HEADERS, BODY, END_OF_BODY, ABORT, QUIT, QUIT_NEW_CONNECTION = b"ULNBEAQK"

ADD_HEADERS: Final = 0x1
"""The action that an MTA must grant before a header can be added."""
NO_BODY, NO_ANSWER_TO_HEADERS, NO_UNKNOWN, NO_DATA = 0x10, 0x80, 0x100, 0x200
STEPS: Final = NO_BODY | NO_ANSWER_TO_HEADERS | NO_UNKNOWN | NO_DATA
"""What an MTA may leave out: each frame costs more than the whole decision."""

CONTINUE: Final = b"\0\0\0\1c"
ACCEPT: Final = b"\0\0\0\1a"

_LENGTH: Final = struct.Struct(">I")
_OPTIONS: Final = struct.Struct(">III")
_OPTNEG_ANSWER: Final = struct.Struct(">IBIII")
_IPV4, _IPV6, _LOCAL, _NO_FAMILY = b"46LU"
_PORT_BYTES: Final = 2
_REPLY = re.compile(r"([45])[0-9]{2} \1\.[0-9]{1,3}\.[0-9]{1,3} [ -~]+")
_HEADER_VALUE = re.compile(r"[ -~]+")


class ProtocolError(ValueError):
    """What the MTA sent is not the milter protocol; the message says why."""


class Options(NamedTuple):
    """What an MTA offers, or a milter takes: the version, and bits of actions and of steps to leave out."""

    version: int
    actions: int
    steps: int


class FrameReader:
    """Cuts a stream of bytes into frames; it holds at most one frame and what came with it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_within_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Command and content of each frame that `data` completes; take them all before more is fed.

        Raises:
            ProtocolError: a frame is empty, or longer than `MAX_FRAME_BYTES`.
        """
        buffer = self._buffer
        buffer += data
        size, begin = len(buffer), 0
        try:
            while size - begin >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(buffer, begin)
                if not 0 < length <= MAX_FRAME_BYTES:
                    raise ProtocolError(f"a frame of {length} bytes: must be 1 to {MAX_FRAME_BYTES}")
                command = begin + _LENGTH.size
                end = command + length
                if end > size:
                    break
                begin = end
                yield buffer[command], bytes(buffer[command + 1 : end])
        finally:
            del buffer[:begin]


def parse_options(content: bytes) -> Options:
    """What an MTA offers.

    Raises:
        ProtocolError: it is cut, or of a version that is older than any that is spoken.
    """
    if len(content) < _OPTIONS.size:
        raise ProtocolError(f"options of {len(content)} bytes: must be {_OPTIONS.size}")
    offered = Options(*_OPTIONS.unpack_from(content))
    if offered.version < OLDEST_VERSION:
        raise ProtocolError(f"version {offered.version}: must be at least {OLDEST_VERSION}")
    return offered


def options_answer(taken: Options) -> bytes:
    """The frame that answers an offer."""
    return _OPTNEG_ANSWER.pack(1 + _OPTIONS.size, OPTNEG, *taken)


def parse_strings(content: bytes) -> list[bytes]:
    """The strings of a frame, at least one.

    Raises:
        ProtocolError: the last one has no end.
    """
    if content[-1:] != b"\0":
        raise ProtocolError("a string without its end")
    return content[:-1].split(b"\0")


def parse_header(content: bytes) -> tuple[bytes, bytes]:
    """Name and value of a header.

    Raises:
        ProtocolError: they are not two strings.
    """
    parts = parse_strings(content)
    if len(parts) != 2:
        raise ProtocolError(f"a header of {len(parts)} strings: must be 2")
    return parts[0], parts[1]


def parse_macros(content: bytes) -> tuple[int, dict[bytes, bytes]]:
    """The command that macros are for, and their values by their names, which have no braces here.

    Raises:
        ProtocolError: there is no command, or a name without a value.
    """
    if not content:
        raise ProtocolError("macros for no command")
    if len(content) == 1:
        return content[0], {}
    parts = parse_strings(content[1:])
    if len(parts) % 2:
        raise ProtocolError(f"macros of {len(parts)} strings: must be names and values")
    return content[0], {name.strip(b"{}"): value for name, value in zip(parts[::2], parts[1::2], strict=True)}


def parse_connect(content: bytes) -> bytes | None:
    """The address of a client as the MTA writes it; None where it comes by no network.

    Raises:
        ProtocolError: the frame is cut, or of a family that there is not.
    """
    _, end, rest = content.partition(b"\0")
    if not end or not rest:
        raise ProtocolError("a connection without a family")
    if rest[0] == _NO_FAMILY:
        return None
    if rest[0] not in (_IPV4, _IPV6, _LOCAL):
        raise ProtocolError(f"a connection of the family {rest[0]:#04x}")
    address = rest[1 + _PORT_BYTES :]
    if not address or address.find(b"\0") != len(address) - 1:
        raise ProtocolError("a connection whose address is cut")
    return None if rest[0] == _LOCAL else address[:-1]


def reply_answer(reply: str) -> bytes:
    """The frame that answers with a reply of our own.

    Postfix passes on what it gets, line ends and all, and drops each `%` and what has no end.

    Raises:
        ValueError: it is not one clean line that delays or refuses, in printable ASCII, whose codes are of one class.
    """
    if len(reply) > MAX_REPLY_BYTES or _REPLY.fullmatch(reply) is None:
        raise ValueError(f"no reply of SMTP that delays or refuses: {reply[:80]!r:.100}")
    return _frame(b"y", reply.replace("%", "%%").encode("ascii") + b"\0")


def add_header(name: str, value: str) -> bytes:
    """The frame that adds a header; it may be sent at the end of the body only.

    Raises:
        ValueError: the value is not one line of printable ASCII.
    """
    if _HEADER_VALUE.fullmatch(value) is None:
        raise ValueError(f"no value of a header: {value[:80]!r:.100}")
    return _frame(b"h", f"{name}\0{value}\0".encode("ascii"))


def _frame(command: bytes, content: bytes) -> bytes:
    return _LENGTH.pack(1 + len(content)) + command + content
