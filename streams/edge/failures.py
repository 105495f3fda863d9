"""Logs failures of a door: a short trace, and not a line for each message."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from typing import Final

from streams.log_events import log_event

log = logging.getLogger(__name__)

FAILURE_LOG_SECONDS: Final = 10.0
"""Between two lines of the log about one place that fails."""
MAX_ERROR_CHARS: Final = 300
_FRAMES: Final = 6


class FailureLog:
    """Logs what failed, and how often it failed since it was last logged."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure by a clock of seconds."""
        self._clock = clock
        self._places: dict[str, tuple[float, int]] = {}

    def add(self, where: str, error: Exception) -> None:
        """Note a failure at a place; the message that it happened to was accepted."""
        now = self._clock()
        logged_at, unlogged = self._places.get(where, (float("-inf"), 0))
        if now - logged_at < FAILURE_LOG_SECONDS:
            self._places[where] = logged_at, unlogged + 1
            return
        self._places[where] = now, 0
        name, text = type(error).__name__, str(error)[:MAX_ERROR_CHARS]
        about, trace = log_event("door_failed", where=where, error=name, more=unlogged), short_trace(error)
        log.error("the door failed at %s, mail was accepted: %s: %s: %s", where, name, text, trace, extra=about)


def short_trace(error: Exception) -> str:
    """The innermost frames of an error's traceback, the innermost first."""
    frames = traceback.extract_tb(error.__traceback__, -_FRAMES)
    return " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
