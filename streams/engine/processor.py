"""The code that processes the records of one partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streams.engine.partition.view import StateView
from streams.engine.ports import Record


class Processor(Protocol):
    """The code of one partition; synchronous and without effects but those on the view.

    A unit of work is `begin`, then any number of `on_records` and `on_tick`, then `finish`, then the commit. While a
    unit commits, the next one is computed, and its view shows what the committing one wrote. A processor may therefore
    keep states decoded from unit to unit: a unit either commits, or no other follows it in this process.
    """

    def begin(self, view: StateView) -> None:
        """A unit of work begins."""

    def finish(self, view: StateView) -> None:
        """The unit ends: whatever is still to be written goes into the view now."""

    def timestamp_of(self, record: Record) -> int:
        """When a record happened, UTC milliseconds, by which the inputs are merged; 0 where it does not say."""

    def on_records(self, view: StateView, records: Sequence[Record], before: int | None) -> int:
        """Process records of one input in order; returns how many were processed or rejected.

        Stops early only at the first record that happened at or after `before`, or when `view.is_full`. A record that
        cannot be processed has to leave no change behind and goes to `view.reject`, which raises what is not the
        record's fault. A record that is too much for one unit may be worked off in parts: put the progress into the
        state, call `view.close`, and stop before it; the same record comes again in the next unit.
        """

    def tick_moment(self, is_caught_up: bool) -> int | None:
        """Up to which moment (UTC milliseconds) timers may fire now, None for not at all."""

    def on_tick(self, view: StateView, moment: int, limit: int) -> bool:
        """Fire at most about `limit` timers due at or before `moment`, and as much of what was put off.

        True when some of either is left: it is called again after the records that wait have had a turn.
        """
