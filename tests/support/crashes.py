"""Failpoints at which the process dies in the test's own process."""

from __future__ import annotations

from collections.abc import Callable


class Crash(BaseException):
    """The process dies."""


def crash_at(name: str) -> Callable[[str], None]:
    """A failpoint that dies at a step."""

    def failpoint(point: str) -> None:
        if point == name:
            raise Crash

    return failpoint
