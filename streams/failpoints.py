"""Named points of the work at which tests kill a process (`TES_CRASH_AT`, `TES_EDGE_CRASH_AT`)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def failpoints(crash_at: str) -> Callable[[str], None]:
    """A hook that kills this process when it reaches a named point for the n-th time; does nothing without a name.

    Args:
        crash_at: `name`, or `name:n`.
    """
    name, _, count = crash_at.partition(":")
    left = int(count or 1)

    def failpoint(point: str) -> None:
        nonlocal left
        if point == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return failpoint
