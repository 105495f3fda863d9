"""The wall clock. Whoever can be handed a clock is handed one, and has this one by default."""

from __future__ import annotations

import time


def wall_clock_ms() -> int:
    """Now, in UTC milliseconds."""
    return time.time_ns() // 1_000_000
