"""What the stages to come will do to a server's mail, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def first_stages(schedule: Iterable[Mapping[str, Any]]) -> tuple[int | None, int | None]:
    """When a schedule, as a report's record has it, first delays and first blocks mail; UTC milliseconds.

    A stage that does both blocks. None where no stage does it; a policy blocks no less later than before.
    """
    delayed_at = None
    for stage in schedule:
        if stage["block_minutes_per_hour"]:
            return delayed_at, stage["starts_at"]
        if stage["throttle_minutes_per_hour"] and delayed_at is None:
            delayed_at = stage["starts_at"]
    return delayed_at, None
