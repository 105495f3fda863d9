r"""Text on its way out: to a terminal, to a spreadsheet, to whoever reads JSON.

Names, header lines and records are claims of strangers. A terminal obeys control characters, a person is deceived by
marks that turn the direction of text or take no room, and a spreadsheet calculates what begins as a formula. So what is
not plainly visible is shown as an escape: `\x1b`, `\u202e`, `\U000e0041`.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from contextlib import suppress
from typing import Any, Final, Self

import orjson

_PLAIN = re.compile(r"[ -~]*")
_PLAIN_LINES = re.compile(r"[\n -~]*")
_FOLD = re.compile(r"\r?\n[ \t]+")
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What Python calls printable and nobody sees: fillers, joiners, and selectors of variants (Default_Ignorable)."""
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""How a cell begins that a spreadsheet may calculate, by OWASP's rule; the wide forms too."""
_FORMULA_INSIDE = re.compile(r"([;,|]\s*)([=+\-@\uff1d\uff0b\uff0d\uff20])")
"""The same behind what a spreadsheet may take for the end of a cell, as its country has it."""
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class OutputError(Exception):
    """Standard output cannot be written to; `cause` is the system's error.

    It is no OSError: a command that handles those of its input must not take this for one of them.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output: {cause.strerror or cause}")
        self.cause = cause


def visible(text: str) -> str:
    """One line in which every character can be seen: others as escapes, a header's fold as a blank."""
    if _PLAIN.fullmatch(text):
        return text
    return _escaped(_FOLD.sub(" ", text), "")


def visible_lines(text: str) -> str:
    """Text of several lines in which every character can be seen, line ends aside."""
    if _PLAIN_LINES.fullmatch(text):
        return text
    return _escaped(text, "\n")


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet calculates and no terminal obeys; a number stays one.

    By OWASP's rule against formulas an apostrophe is put before text that begins as one, after blanks too; and behind
    what a spreadsheet may take for a separator.
    """
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    return _FORMULA_INSIDE.sub(r"\1'\2", visible(f"'{text}" if _FORMULA.match(text) else text))


def visible_json(value: Any) -> bytes:
    r"""JSON in UTF-8 that means the same; what cannot be seen is `\u` with four digits."""
    raw = orjson.dumps(value)
    if raw.isascii() and b"\x7f" not in raw:
        return raw
    return "".join(char if _is_visible(char) else _json_escape(char) for char in raw.decode()).encode()


def _escaped(text: str, kept: str) -> str:
    return "".join(char if char in kept or _is_visible(char) else _escape(char) for char in text)


def _is_visible(char: str) -> bool:
    return char.isprintable() and not _UNSEEN.match(char)


def _escape(char: str) -> str:
    number = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


class VisibleStream:
    """A text stream behind which nothing but visible text and line ends arrives.

    It is the net under every command: a value that was not made visible where it was printed still does no harm.
    """

    def __init__(self, stream: Any, *, is_output: bool) -> None:
        """Write to `stream`; that of data tells when it cannot, that of messages is silent then."""
        self._stream, self._is_output = stream, is_output

    def write(self, text: str) -> int:
        """Write text.

        Raises:
            OutputError: it cannot be written.
        """
        self._do(lambda: self._stream.write(_encodable(visible_lines(text), self._stream.encoding)))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def write_bytes(self, raw: bytes) -> None:
        """Write bytes as they are, behind the text so far.

        Raises:
            OutputError: they cannot be written.
        """
        self._do(self._stream.flush)
        self._do(lambda: self._stream.buffer.write(raw))

    def flush(self) -> None:
        """Write what waits.

        Raises:
            OutputError: it cannot be written.
        """
        self._do(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _do(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            if self._is_output:
                raise OutputError(error) from error
            with suppress(OSError, ValueError):  # a stream of a test has no number
                discard(self._stream)


def _encodable(text: str, encoding: str | None) -> str:
    """Text as far as the terminal's character set goes, the rest as escapes."""
    if text.isascii() or not encoding:
        return text
    return text.encode(encoding, "backslashreplace").decode(encoding)


def discard(stream: Any) -> None:
    """Let nothing be written to a stream any more, not even when the process ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    finally:
        os.close(null)


def write_bytes(raw: bytes) -> None:
    """Write bytes to standard output as they are.

    Raises:
        OutputError: they cannot be written.
    """
    stream: Any = sys.stdout
    if isinstance(stream, VisibleStream):
        stream.write_bytes(raw)
    else:
        stream.buffer.write(raw)


class ClosedOutput(io.TextIOBase):
    """In place of a standard output that was closed before the process began."""

    def write(self, text: str) -> int:
        """Refuse.

        Raises:
            OSError: always.
        """
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    @property
    def buffer(self) -> Self:
        """Bytes go nowhere either."""
        return self
