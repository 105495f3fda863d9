"""How often a process looks for garbage in cycles."""

from __future__ import annotations

import gc
from typing import Final

COLLECTED_OBJECTS: Final = 50_000
"""New objects that may be part of cycles, such as tasks and errors with their frames, before these are looked for."""


def collect_seldom() -> None:
    """Look for garbage in cycles seldom: a start makes thousands of objects that stay, and hardly any garbage."""
    gc.set_threshold(COLLECTED_OBJECTS, 20, 20)


def tune_gc() -> None:
    """Look for garbage in cycles seldom, and never among what the start made.

    Records and rows are freed by their counts of references; walking over those that wait in queues and caches again
    and again took a fifth of a worker's time, and a quarter of what the report decodes; it found next to nothing.
    """
    gc.collect()
    gc.freeze()
    collect_seldom()
