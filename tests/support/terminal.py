"""A terminal of a given width: what a command writes to it, byte by byte."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

TES = ["env", "--default-signal=INT", sys.executable, "-m", "streams.cli"]
"""Whoever runs the tests in the background of a shell ignores Ctrl-C, and so would what they start."""


class Terminal:
    """Runs `tes` on a terminal of its own; `text` is what has been written to it so far, of both streams."""

    def __init__(
        self, *words: str, columns: int = 80, lines: int = 24, env: Mapping[str, str] | None = None, term: str = "xterm"
    ) -> None:
        self.own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.attributes = termios.tcgetattr(theirs)
        given = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self._raw, self._changed = b"", threading.Condition()
        self.process = subprocess.Popen(
            [*TES, *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=given | {"TERM": term, **(env or {})},
        )  # fmt: skip
        self._theirs = theirs
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._close()
        os.close(self.own)

    @property
    def text(self) -> str:
        return self._raw.decode("utf-8", "replace")

    def end(self, seconds: float = 60.0) -> int:
        """Wait for the command to end; its exit code. All that it wrote is in `text`."""
        code = self.process.wait(seconds)
        self._close()
        self._reader.join(seconds)
        return code

    def wait_for(self, part: str, seconds: float = 60.0) -> None:
        """Wait until something has been written."""
        with self._changed:
            assert self._changed.wait_for(lambda: part in self.text, seconds), self.text

    def _close(self) -> None:
        if self._theirs >= 0:
            os.close(self._theirs)
            self._theirs = -1

    def _read(self) -> None:
        while True:
            try:
                raw = os.read(self.own, 1 << 16)
            except OSError:  # the last writer is gone
                return
            with self._changed:
                self._raw += raw
                self._changed.notify_all()


def shown(*words: str, columns: int = 80, env: Mapping[str, str] | None = None, term: str = "xterm") -> tuple[int, str]:
    """Exit code and all that a command writes to a terminal."""
    with Terminal(*words, columns=columns, env=env, term=term) as terminal:
        return terminal.end(), terminal.text
