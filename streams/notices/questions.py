"""What a link is about, before somebody answers it: looking at it changes nothing."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, select

from streams.notices.destinations import UnknownDestinationError, get_destination
from streams.notices.facts import link_key
from streams.notices.model import Destination, DestinationState
from streams.notices.tables import DESTINATION
from streams.notices.tokens import Purpose, TokenError, check_token, whose_token


def asked_by_token(connection: Connection, token: str, now: int) -> Destination:
    """The destination that was asked, by the token of the question, whether it wants to be told.

    Raises:
        TokenError: it is of no question that is open: forged, expired, answered, or asked anew since.
    """
    told = whose_token(token)
    columns = DESTINATION.c
    asked = select(columns.challenge, columns.challenge_until, columns.state).where(
        columns.tenant_id == told.tenant_id, columns.destination_id == told.destination_id
    )
    row = connection.execute(asked).first()
    is_open = row is not None and row.challenge_until > now and row.state == DestinationState.UNCONFIRMED
    challenge = row.challenge if row is not None and is_open else ""
    # Where no question is open the same is calculated, with what nobody knows.
    check_token(link_key(connection), Purpose.CONFIRM, token, challenge or secrets.token_hex(16))
    return get_destination(connection, *told)


def told_by_token(connection: Connection, token: str) -> Destination:
    """The destination that was sent something, by the token in it, also one that was removed.

    Raises:
        TokenError: the token was given to nobody.
    """
    told = check_token(link_key(connection), Purpose.UNSUBSCRIBE, token)
    try:
        return get_destination(connection, *told)
    except UnknownDestinationError:
        raise TokenError("token: must be one that this service gave out") from None
