"""Mail that came back: whom it was for, and what follows from it.

Every function takes a connection of a transaction, writing ones of one that writes. Moments are UTC milliseconds.
"""

from __future__ import annotations

import hmac
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select, update

from streams.database.upserts import Upsert
from streams.notices.destinations import (
    GIVEN_UP,
    OPEN,
    PACKED,
    SENT,
    WAITING,
    find_destinations,
    get_destination,
    lock_lane,
    park,
)
from streams.notices.facts import link_key
from streams.notices.model import Destination, DestinationKind, DestinationState, Outcome
from streams.notices.tables import ATTEMPT, DELIVERY, MESSAGE
from streams.notices.tokens import TokenError, make_bounce_token, whose_bounce_token

_ATTEMPTS: Final = Upsert(ATTEMPT, keeps=True)
_USED: Final = (DestinationState.ACTIVE, DestinationState.PARKED)


class Bounced(NamedTuple):
    """What followed from a mail that came back: of which destination, and whether that was parked for it."""

    destination: Destination
    is_new: bool
    is_parked: bool


def bounced_destination(connection: Connection, token: str) -> Destination:
    """The destination of a mail that came back, by the token in the address that it came back to.

    Raises:
        TokenError: the token was given to nobody.
    """
    ids = whose_bounce_token(token)
    key = link_key(connection)
    for found in find_destinations(connection, ids).values():
        is_ours = hmac.compare_digest(make_bounce_token(key, found).encode(), token.lower().encode())
        if is_ours and found.kind is DestinationKind.MAIL:
            return found
    raise TokenError("token: must be one that this service gave out")


def take_bounce(
    connection: Connection, destination: Destination, message_id: str | None, outcome: Outcome, now: int
) -> Bounced:
    """Write that a mail came back for good: it was not delivered, and its destination is sent nothing more.

    What it told waits again: it goes when the destination works again. A mail that came back before changes nothing,
    nor does one to a destination that was removed.

    Args:
        connection: of a writing transaction.
        destination: of the mail.
        message_id: of the mail; None where nobody says.
        outcome: who refused it, in their words.
        now: the moment.
    """
    key = (destination.tenant_id, destination.destination_id)
    lock_lane(connection, *key)
    found = get_destination(connection, *key)
    message = None if message_id is None else _message(connection, found, message_id)
    if found.state is DestinationState.REMOVED or (message is not None and message.state not in (OPEN, SENT)):
        return Bounced(found, is_new=False, is_parked=False)
    if message is not None:
        _give_back(connection, found, message, outcome, now)
    return Bounced(found, is_new=True, is_parked=park(connection, found, outcome.why, now))


def _message(connection: Connection, destination: Destination, message_id: str) -> Any:
    asked = select(MESSAGE).where(
        MESSAGE.c.tenant_id == destination.tenant_id,
        MESSAGE.c.message_id == message_id,
        MESSAGE.c.destination_id == destination.destination_id,
    )
    return connection.execute(asked.with_for_update()).first()


def _give_back(connection: Connection, destination: Destination, message: Any, outcome: Outcome, now: int) -> None:
    key = (message.tenant_id, message.message_id)
    answer = (str(outcome.kind), outcome.code, outcome.why)
    # It is what became of the attempt that seemed to succeed, which may not be written yet.
    _ATTEMPTS.write(connection, [(*key, max(1, message.attempts), now, now, *answer)])
    last = {"last_outcome": answer[0], "last_code": answer[1], "last_why": answer[2]}
    here = (MESSAGE.c.tenant_id == key[0], MESSAGE.c.message_id == key[1])
    connection.execute(update(MESSAGE).where(*here).values(state=GIVEN_UP, ended_at=now, **last))
    if destination.state in _USED:
        held = (
            DELIVERY.c.tenant_id == destination.tenant_id,
            DELIVERY.c.destination_id == destination.destination_id,
            DELIVERY.c.message_id == message.message_id,
            DELIVERY.c.state.in_((SENT, PACKED)),
        )
        again = {"state": WAITING, "message_id": None, "ended_at": None, "is_together": 1, "due_at": now}
        connection.execute(update(DELIVERY).where(*held).values(**again))
