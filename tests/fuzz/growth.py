"""How the cost of a call grows with its input: executed lines of Python, and CPU time of what is compiled."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

Call = Callable[[], object]


def executed_lines(call: Call) -> int:
    """How many lines of Python run; the same for the same input on every machine."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def cpu_ns(call: Call, rounds: int = 3) -> int:
    """CPU time of this thread, the least of some rounds: what disturbs a round only ever adds."""
    least = 1 << 62
    for _ in range(rounds):
        begin = time.thread_time_ns()
        call()
        least = min(least, time.thread_time_ns() - begin)
    return least


def excess(prepare: Callable[[int], Call], size: int, factor: int) -> tuple[float, float]:
    """By how much more than its input (lines, CPU time) the cost grows from `size` to `factor` times that size.

    1 is linear, and `factor` is quadratic.
    """
    small, large = prepare(size), prepare(size * factor)
    lines = executed_lines(large) / max(1, executed_lines(small)) / factor
    return lines, cpu_ns(large) / max(1, cpu_ns(small)) / factor
