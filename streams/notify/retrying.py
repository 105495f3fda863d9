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
REFUSED_FOR_MS: Final = DAY_MS
"""A message that the other side refuses, while it may take others, is given up after so long."""
FAULT_FOR_MS: Final = 7 * DAY_MS
"""A message that a fault of ours keeps back is given up after so long: it tells nothing of use any more."""
_MOST_OF_FAULT_MS: Final = 2 * HOUR_MS
"""What a fault of ours keeps back is tried again no later, so that it goes soon once that is mended."""
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
    delay = _delay(failures, chance)
    asked = min(max(retry_after_ms or 0, 0), MOST_RETRY_AFTER_MS)
    return Next(now + max(delay, asked), now - failing_since >= PARKED_AFTER_MS)


def next_of_refused(attempts: int, refused_since: int, now: int, chance: Callable[[], float]) -> int | None:
    """When a message that was refused so many times is tried again; None gives it up. Others do not wait for it."""
    return None if now - refused_since >= REFUSED_FOR_MS else now + _delay(attempts, chance)


def next_of_fault(attempts: int, made_at: int, now: int, chance: Callable[[], float]) -> int | None:
    """When a message that a fault of ours keeps back is tried again; None gives it up. Others do not wait for it."""
    return None if now - made_at >= FAULT_FOR_MS else now + min(_delay(attempts, chance), _MOST_OF_FAULT_MS)


def _delay(times: int, chance: Callable[[], float]) -> int:
    return round(SCHEDULE[min(times, len(SCHEDULE)) - 1] * (1 + _SPREAD * (2 * chance() - 1)))
