"""How the cost of a call grows with its input, in executed lines of Python: no clock is asked."""

from __future__ import annotations

import sys
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


def excess(prepare: Callable[[int], Call], size: int, factor: int) -> float:
    """By how much more than its input the executed lines grow from `size` to `factor` times that size.

    1 is linear, and `factor` is quadratic.
    """
    small, large = prepare(size), prepare(size * factor)
    small()  # what is loaded once does not count
    return executed_lines(large) / max(1, executed_lines(small)) / factor
