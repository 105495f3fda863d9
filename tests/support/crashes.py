"""Failpoints at which the process dies in the test's own process."""

from __future__ import annotations

from collections.abc import Callable


class Crash(BaseException):
    """The process dies."""


def crash_at(name: str) -> Callable[[str], None]:
    """A failpoint that dies at a step; whoever is dead comes to no further step, in whatever thread."""
    is_dead = False

    def failpoint(point: str) -> None:
        nonlocal is_dead
        is_dead = is_dead or point == name
        if is_dead:
            raise Crash

    return failpoint
