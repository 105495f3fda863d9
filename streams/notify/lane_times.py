"""When lanes have something to be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from streams.database.upserts import pieces
from streams.notices.destinations import WAITING
from streams.notices.model import DestinationState
from streams.notices.tables import DELIVERY, DESTINATION, MESSAGE, NEVER
from streams.notify.runs import ALLOWED


def find_nexts(connection: Connection, lanes: Sequence[dict[str, Any]]) -> dict[str, int]:
    """When each of some lanes has something to be sent; what is not allowed by the destination's state is none."""
    states: dict[str, str] = {}
    waiting: dict[str, int] = {}
    opened: dict[tuple[str, str], int] = {}
    for some in pieces([lane["destination_id"] for lane in lanes]):
        columns = (DESTINATION.c.destination_id, DESTINATION.c.state)
        states |= {row[0]: row[1] for row in connection.execute(select(*columns).where(columns[0].in_(some)))}
        waits = (DELIVERY.c.destination_id.in_(some), DELIVERY.c.ended_at.is_(None), DELIVERY.c.state == WAITING)
        first = select(DELIVERY.c.destination_id, func.min(DELIVERY.c.due_at)).where(*waits)
        waiting |= {row[0]: row[1] for row in connection.execute(first.group_by(DELIVERY.c.destination_id))}
        here = (MESSAGE.c.destination_id.in_(some), MESSAGE.c.ended_at.is_(None))
        made = select(MESSAGE.c.destination_id, MESSAGE.c.form, func.min(MESSAGE.c.next_attempt_at)).where(*here)
        for one, form, at in connection.execute(made.group_by(MESSAGE.c.destination_id, MESSAGE.c.form)):
            opened[one, form] = at
    found = {}
    for lane in lanes:
        one = lane["destination_id"]
        state = DestinationState(states[one])
        moments = [opened[one, form] for form in ALLOWED[state] if (one, form) in opened]
        # Behind a message that failed nothing is packed.
        is_behind = lane["failures"] > 0 and bool(moments)
        if state is DestinationState.ACTIVE and one in waiting and not is_behind:
            since = lane["grouping_since"]
            # What came while the lane was taken waits for what comes with it.
            is_grouped = since is not None and waiting[one] >= since
            moments.append(lane["due_at"] if is_grouped and lane["due_at"] != NEVER else waiting[one])
        found[one] = min(moments, default=NEVER)
    return found
