"""The notices of messages, as far as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, case, func, select

from streams.database.upserts import pieces
from streams.notices.destinations import PACKED
from streams.notices.tables import DELIVERY, NOTICE
from streams.notify.packing import MOST_SHOWN, RANKS, Held


@dataclass(slots=True)
class Contents:
    """A message's notices: those that it shows, and when all of them were written to their topic."""

    held: list[Held] = field(default_factory=list)
    written_at: list[int] = field(default_factory=list)


def find_contents(connection: Connection, messages: Sequence[Mapping[str, Any]]) -> dict[str, Contents]:
    """The contents of messages, by id; records are read of those that are shown, of a storm a small part."""
    found = {row["message_id"]: Contents() for row in messages}
    same = (NOTICE.c.tenant_id == DELIVERY.c.notice_tenant) & (NOTICE.c.notification_id == DELIVERY.c.notification_id)
    urgency = case(RANKS, value=NOTICE.c.severity, else_=0)
    rank = func.row_number().over(
        partition_by=DELIVERY.c.message_id, order_by=(urgency.desc(), NOTICE.c.occurred_at, NOTICE.c.notification_id)
    )
    of_notice = (NOTICE.c.tenant_id, NOTICE.c.notification_id, NOTICE.c.written_at)
    full = NOTICE.alias("full")
    for some in pieces(sorted(row["message_id"] for row in messages if row["notices"])):
        held = (DELIVERY.c.message_id.in_(some), DELIVERY.c.state == PACKED)
        ranked = (
            select(DELIVERY.c.message_id, *of_notice, rank.label("place")).join(NOTICE, same).where(*held).subquery()
        )
        is_shown = (
            (full.c.tenant_id == ranked.c.tenant_id)
            & (full.c.notification_id == ranked.c.notification_id)
            & (ranked.c.place <= MOST_SHOWN)
        )
        columns = (ranked.c.message_id, ranked.c.written_at, full.c.severity, full.c.occurred_at, full.c.detail)
        for message_id, written_at, *notice in connection.execute(select(*columns).outerjoin(full, is_shown)):
            found[message_id].written_at.append(written_at)
            if notice[-1] is not None:
                found[message_id].held.append(Held(*notice))
    return found
