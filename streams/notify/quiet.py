"""Quiet hours of subscriptions at the moment of sending: what was late, or is tried again, does not come amid them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select

from streams.database.upserts import pieces
from streams.domain.outputs.notification import Severity
from streams.notices.model import Destination, Digest
from streams.notices.tables import SUBSCRIPTION
from streams.notices.times import ZoneError, quiet_end


class QuietHours:
    """Those of some destinations' subscriptions."""

    def __init__(self, connection: Connection, destinations: Mapping[str, Destination], now: int) -> None:
        """Know them at a moment, UTC milliseconds; `destinations` by id."""
        self._ends: dict[tuple[str, str], tuple[int, bool]] = {}
        """By destination and subscription: when those end that it is amid of; whether what is critical goes now."""
        columns = SUBSCRIPTION.c
        for some in pieces(sorted(destinations)):
            asked = select(
                columns.destination_id,
                columns.subscription_id,
                columns.quiet_from,
                columns.quiet_to,
                columns.digest,
                columns.is_quiet_for_critical,
            ).where(
                columns.tenant_id.in_(sorted({destinations[one].tenant_id for one in some})),
                columns.destination_id.in_(some),
                columns.quiet_from.is_not(None),
            )
            for row in connection.execute(asked):
                end = _end(now, destinations[row.destination_id].zone, row.quiet_from, row.quiet_to)
                # A digest waits for its moment with all that is in it.
                is_open = row.digest == Digest.AT_ONCE and not row.is_quiet_for_critical
                if end is not None:
                    self._ends[row.destination_id, row.subscription_id] = end, is_open

    def are_at(self, destination_id: str) -> bool:
        """Whether it is quiet for any subscription of a destination."""
        return any(one == destination_id for one, _ in self._ends)

    def end(self, destination_id: str, subscription_id: str, severity: str) -> int | None:
        """When a notice may be sent that is kept back now, UTC milliseconds; None where it may be now."""
        end, is_open = self._ends.get((destination_id, subscription_id), (None, True))
        return None if is_open and severity == Severity.CRITICAL else end


def _end(now: int, zone: str, begin: int, end: int | None) -> int | None:
    try:
        return None if end is None else quiet_end(now, zone, begin, end)
    except ZoneError:
        return None  # of a zone that is known no more nobody can say when it is quiet
