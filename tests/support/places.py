"""Where servers of tests listen."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """The path of a UNIX socket, or a port of this machine."""

    path: str | None = None
    host: str = "127.0.0.1"
    port: int = 0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.path is None else f"unix:{self.path}"


def unix(path: Path) -> Place:
    return Place(str(path))
