"""A file system that is small enough to fill."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Self


class CannotBeDoneError(RuntimeError):
    """This machine does not allow what a scenario needs; the message says what and how to get it."""


class SmallDisk:
    """A tmpfs; `with` mounts and unmounts it."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder, self._size_bytes = folder, size_bytes
        self._filler = folder / "filler"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            raise CannotBeDoneError("a small disk is a tmpfs, and mounting one needs root: run scripts/chaos as root")
        options = f"size={self._size_bytes}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotBeDoneError(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        return self

    def __exit__(self, *error: object) -> None:
        # Lazy: a process that ends at this moment may still have a file open in it.
        subprocess.run(["umount", "-l", str(self.folder)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def fill(self) -> int:
        """Leave no byte free; gives how many were taken."""
        block = b"\xaa" * 4096
        with self._filler.open("ab", buffering=0) as filler:
            try:
                while filler.write(block):
                    pass
            except OSError:
                return filler.tell()
        return 0

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)
