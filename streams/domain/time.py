"""Moments and spans: whole milliseconds, moments since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
EARLIEST_MS: Final = 946_684_800_000
"""2000-01-01: no connection of this service can be older; an older time is a broken clock."""
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01: a later time is a broken clock, and would fire every timer there is."""


def moment_ms(moment: datetime) -> int:
    """An aware moment in whole milliseconds, rounded."""
    return round(moment.timestamp() * 1000)


def iso(moment: int) -> str:
    """A moment (UTC milliseconds) as ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(moment // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment % 1000:03d}Z"
