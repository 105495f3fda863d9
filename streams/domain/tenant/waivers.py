"""What stands between one server and enforcement: the spans of its pauses and exceptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.domain.policy.ladder import ClockStop


class Waivers(NamedTuple):
    """What stands between one server and enforcement."""

    pauses: tuple[ClockStop, ...] = ()
    exceptions: tuple[ClockStop, ...] = ()

    def clock_stops(self) -> tuple[ClockStop, ...]:
        """Every span in which enforcement time stands still."""
        return self.pauses + self.exceptions

    def until(self, moment: int) -> int | None:
        """Until when the server is covered without a gap, None when it is not covered at `moment`."""
        return waived_until(self.clock_stops(), moment)


NO_WAIVERS = Waivers()


def waived_until(spans: Iterable[ClockStop], moment: int) -> int | None:
    """Until when spans cover `moment` and what follows without a gap, None when none covers it."""
    reached = moment
    for starts_at, ends_at in sorted(spans):
        if starts_at <= reached < ends_at:
            reached = ends_at
    return reached if reached > moment else None
