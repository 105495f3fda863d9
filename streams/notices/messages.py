"""Messages as people ask about them: one of them, the latest to each destination, a test; and what names a destination.

Every function takes a connection of a transaction, writing ones of one that writes. Moments are UTC milliseconds.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select, update

from streams.domain.time import HOUR_MS
from streams.notices.checks import check_destination
from streams.notices.destinations import LimitError, get_destination, list_destinations, lock_lane, send_test
from streams.notices.model import Destination, Form
from streams.notices.tables import DESTINATION, MESSAGE

MOST_TESTS: Final = 20
"""Tests of a destination in an hour: each is a message that somebody else has to read."""


class SentMessage(NamedTuple):
    """A message, and how its latest attempt went; `notices` says how many it has. What was not tried has no outcome."""

    message_id: str
    destination_id: str
    form: str
    state: str
    notices: int
    made_at: int
    attempts: int
    next_attempt_at: int
    last_code: int | None
    last_outcome: str | None
    last_why: str | None
    ended_at: int | None


_COLUMNS: Final = tuple(MESSAGE.c[name] for name in SentMessage._fields)


def find_message(connection: Connection, tenant: str, destination_id: str, message_id: str) -> SentMessage | None:
    """A message to a tenant's destination; None where there is none of this id, or no more."""
    asked = select(*_COLUMNS).where(
        MESSAGE.c.tenant_id == tenant,
        MESSAGE.c.message_id == message_id,
        MESSAGE.c.destination_id == destination_id,
    )
    row = connection.execute(asked).first()
    return None if row is None else SentMessage(*row)


def latest_tried(connection: Connection, tenant: str) -> dict[str, SentMessage]:
    """The latest message to each of a tenant's destinations that was tried at all, by destination."""
    found = {}
    for one in list_destinations(connection, tenant):
        asked = select(*_COLUMNS).where(
            MESSAGE.c.tenant_id == tenant,
            MESSAGE.c.destination_id == one.destination_id,
            MESSAGE.c.last_outcome.is_not(None),
        )
        row = connection.execute(asked.order_by(MESSAGE.c.made_at.desc()).limit(1)).first()
        if row is not None:
            found[one.destination_id] = SentMessage(*row)
    return found


def request_test(connection: Connection, tenant: str, destination_id: str, now: int) -> str:
    """Have a test sent to a destination, unless one is on its way; returns the message's id.

    Raises:
        UnknownDestinationError: the tenant has none of this id that may be sent to.
        LimitError: it had too many tests lately.
    """
    lock_lane(connection, tenant, destination_id)
    tests = select(MESSAGE.c.message_id, MESSAGE.c.ended_at).where(
        MESSAGE.c.tenant_id == tenant,
        MESSAGE.c.destination_id == destination_id,
        MESSAGE.c.form == Form.TEST,
        MESSAGE.c.made_at > now - HOUR_MS,
    )
    lately = connection.execute(tests.order_by(MESSAGE.c.made_at.desc())).all()
    if lately and lately[0].ended_at is None:
        return str(lately[0].message_id)
    if len(lately) >= MOST_TESTS:
        raise LimitError(f"tests: a destination gets at most {MOST_TESTS} an hour")
    return send_test(connection, tenant, destination_id, now)


def change_destination(connection: Connection, wanted: Destination) -> Destination:
    """Change a destination's name, language and time zone; what was routed before goes when it was to go.

    Raises:
        MalformedError: a value is none; the message says what it must be.
        ZoneError: the time zone is not known.
        UnknownDestinationError: the tenant has none of this id.
    """
    found = get_destination(connection, wanted.tenant_id, wanted.destination_id)
    check_destination(found.kind, wanted.name, found.address, wanted.language, wanted.zone)
    changes: dict[str, Any] = {"name": wanted.name, "language": wanted.language, "zone": wanted.zone}
    here = (DESTINATION.c.tenant_id == wanted.tenant_id, DESTINATION.c.destination_id == wanted.destination_id)
    connection.execute(update(DESTINATION).where(*here).values(**changes))
    return found._replace(**changes)
