"""Standard output and standard error of a command: what arrives behind them can be seen."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from contextlib import suppress
from typing import Any, Self

from streams.visible import visible_lines

_DRAWING = re.compile(r"(\r(?=\x1b\[)|\x1b\[(?:[0-9;]*m|[0-9]*[ABCDGJK]|[0-9;]*H|\?(?:25|1049)[hl]))")
"""What may be drawn: colours, moves of the cursor, deletions, the cursor shown or hidden, the other screen."""


class OutputError(Exception):
    """Standard output cannot be written to; `cause` is the system's error.

    It is no OSError: a command that handles those of its input must not take this for one of them.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output: {cause.strerror or cause}")
        self.cause = cause


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

    def write_drawn(self, text: str) -> None:
        """Write what was drawn for a terminal: colours and moves of the cursor stay, all else is made visible.

        Raises:
            OutputError: it cannot be written.
        """
        parts = _DRAWING.split(text)
        parts[::2] = [_encodable(visible_lines(part), self._stream.encoding) for part in parts[::2]]
        self._do(lambda: self._stream.write("".join(parts)))

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
    """Discard everything written to a stream from now on, also at process exit."""
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
