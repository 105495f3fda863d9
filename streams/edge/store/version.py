"""A number beside the verdicts that changes with each of their transactions, so that the door may remember some.

It is read in a tenth of the time that SQLite takes to look. It is only ever a hint of change: who remembers by it
forgets all the same about once a second, for what ends between a transaction and its number leaves the old number.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_BYTES: Final = 8
_ORDER: Final = "little"


class VersionWriter:
    """Changes the number; where the disk refuses that, it stays."""

    def __init__(self, path: Path) -> None:
        """Keep the number in a file, which is made when it is needed."""
        self._path = path
        self._number = 0

    def change(self) -> None:
        """Tell that something was committed."""
        with suppress(OSError):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._number = max(self._number, int.from_bytes(os.pread(file, _BYTES, 0), _ORDER)) + 1
                os.pwrite(file, self._number.to_bytes(_BYTES, _ORDER), 0)
            finally:
                os.close(file)


class VersionReader:
    """Reads the number."""

    def __init__(self, path: Path) -> None:
        """Read it from a file, once it is there."""
        self._path = path
        self._file: int | None = None

    def open(self) -> None:
        """Use the file that is there now."""
        self.close()
        with suppress(OSError):
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
        self._file = None

    def read(self) -> bytes | None:
        """The number; None where there is none, so that nothing may be remembered."""
        if self._file is None:
            return None
        try:
            return os.pread(self._file, _BYTES, 0) or None
        except OSError:
            return None
