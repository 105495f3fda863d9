"""How far long work is: told to whoever shows it, a person at a terminal mostly."""

from __future__ import annotations

from typing import Final, Protocol


class Progress(Protocol):
    """Takes how far a work is, step by step."""

    def begin(self, step: str, total: int | None = None) -> None:
        """A step begins, of so many records; None where nobody knows how many."""

    def advance(self, records: int = 1) -> None:
        """So many more are done. It is called for each record, and must cost next to nothing."""

    def reach(self, done: int, total: int | None = None) -> None:
        """So many are done, of so many where that has changed."""


class _Silent:
    """Where nobody looks."""

    def begin(self, step: str, total: int | None = None) -> None:
        """See `Progress`."""

    def advance(self, records: int = 1) -> None:
        """See `Progress`."""

    def reach(self, done: int, total: int | None = None) -> None:
        """See `Progress`."""


SILENT: Final[Progress] = _Silent()
"""Tells nobody."""
