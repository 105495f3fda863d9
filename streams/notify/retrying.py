"""When a message that failed is tried again, and when a destination is given up. Pure but for the chance handed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

SCHEDULE: Final = (
    5 * SECOND_MS,
    30 * SECOND_MS,
    5 * MINUTE_MS,
    30 * MINUTE_MS,
    2 * HOUR_MS,
    5 * HOUR_MS,
    10 * HOUR_MS,
    14 * HOUR_MS,
    20 * HOUR_MS,
    24 * HOUR_MS,
)
"""How long after each failure; the last one again and again. Nearly that of Standard Webhooks."""
MOST_RETRY_AFTER_MS: Final = 24 * HOUR_MS
PARKED_AFTER_MS: Final = 5 * DAY_MS
"""A destination that only failed for so long is parked."""
_SPREAD: Final = 0.2


class Next(NamedTuple):
    """What follows from a failure: when it is tried again (UTC milliseconds), unless the destination is parked."""

    at: int
    is_parked: bool


def next_of(
    failures: int, failing_since: int, now: int, retry_after_ms: int | None, chance: Callable[[], float]
) -> Next:
    """What follows from a failure.

    Args:
        failures: of this destination, one after the other, with this one.
        failing_since: when the first of them was.
        now: the moment.
        retry_after_ms: how long the other side wants not to be asked; it is believed for a day.
        chance: from 0 to 1.
    """
    delay = SCHEDULE[min(failures, len(SCHEDULE)) - 1] * (1 + _SPREAD * (2 * chance() - 1))
    asked = min(max(retry_after_ms or 0, 0), MOST_RETRY_AFTER_MS)
    return Next(now + max(round(delay), asked), now - failing_since >= PARKED_AFTER_MS)
