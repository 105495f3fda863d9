"""Destinations: made, confirmed, parked and put to use again, removed; each with the lane that leads to it.

Every function takes a connection of a transaction, writing ones of one that writes. Moments are UTC milliseconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from streams.database.upserts import pieces
from streams.domain.ids import stable_id
from streams.domain.time import DAY_MS
from streams.notices.checks import check_destination, check_kind
from streams.notices.facts import link_key
from streams.notices.model import OPERATORS, Destination, DestinationKind, DestinationState, Form, Origin
from streams.notices.tables import DELIVERY, DESTINATION, LANE, MESSAGE, NEVER, SUBSCRIPTION
from streams.notices.tokens import Purpose, TokenError, Told, check_token, make_token, whose_token
from streams.notices.webhook_secrets import make_secret

MOST_DESTINATIONS: Final = 50
"""Of a tenant."""
MOST_UNCONFIRMED: Final = 10
"""Questions whether somebody wants to be told, of a tenant in a day: they reach whoever is named."""
CHALLENGE_MS: Final = 3 * DAY_MS
"""How long such a question may be answered."""
OVERLAP_MS: Final = DAY_MS
"""How long a former secret signs as well, so that a receiver can change over."""
OPEN, SENT, GIVEN_UP = "OPEN", "SENT", "GIVEN_UP"
"""States of a message."""
WAITING, PACKED, EXPIRED, WITHDRAWN = "WAITING", "PACKED", "EXPIRED", "WITHDRAWN"
"""States of a delivery, beside `SENT` and `GIVEN_UP`."""

_COLUMNS: Final = tuple(DESTINATION.c[name] for name in Destination._fields)
_USED: Final = (DestinationState.ACTIVE, DestinationState.PARKED)


class LimitError(ValueError):
    """A tenant has as many as it may have; the message says of what."""


class TakenError(ValueError):
    """A tenant has a destination with this address; `destination_id` is its id."""

    def __init__(self, destination_id: str) -> None:
        super().__init__(f"address: there is a destination with this address: {destination_id}")
        self.destination_id = destination_id


class UnknownDestinationError(LookupError):
    """A tenant has no such destination."""


def destination_of(row: Sequence[Any]) -> Destination:
    """A destination from the columns of its fields."""
    found = Destination(*row)
    return found._replace(
        kind=DestinationKind(found.kind), origin=Origin(found.origin), state=DestinationState(found.state)
    )


def list_destinations(connection: Connection, tenant: str) -> list[Destination]:
    """A tenant's destinations but removed ones, oldest first; `OPERATORS` for those of operators."""
    asked = select(*_COLUMNS).where(_of(tenant), DESTINATION.c.state != DestinationState.REMOVED)
    ordered = asked.order_by(DESTINATION.c.created_at, DESTINATION.c.destination_id)
    return [destination_of(row) for row in connection.execute(ordered)]


def get_destination(connection: Connection, tenant: str, destination_id: str) -> Destination:
    """A destination of a tenant, also a removed one.

    Raises:
        UnknownDestinationError: it has none of this id.
    """
    row = connection.execute(select(*_COLUMNS).where(*_is(tenant, destination_id))).first()
    if row is None:
        raise UnknownDestinationError(f"destination: {destination_id[:80]!r:.100}: unknown")
    return destination_of(row)


def find_destinations(connection: Connection, ids: Iterable[str]) -> dict[str, Destination]:
    """Destinations of whatever tenants, by their ids."""
    found = {}
    for some in pieces(list(ids)):
        asked = select(*_COLUMNS).where(DESTINATION.c.destination_id.in_(some))
        for row in connection.execute(asked):
            one = destination_of(row)
            found[one.destination_id] = one
    return found


def create_destination(
    connection: Connection,
    *,
    tenant: str,
    kind: DestinationKind,
    name: str,
    address: str,
    now: int,
    created_by: str,
    language: str = "en",
    zone: str = "UTC",
) -> Destination:
    """Make a destination, and ask whether it wants to be told: nothing else is sent to it before it says so.

    Args:
        connection: of a writing transaction.
        tenant: whose it is; `OPERATORS` for one of operators.
        kind: how it is reached.
        name: what its owner calls it.
        address: of a mailbox, or the URL to post to.
        now: the moment.
        created_by: by whom.
        language: the code of its language.
        zone: its time zone by its IANA name.

    Raises:
        MalformedError: a value is none; the message says what it must be.
        ZoneError: the time zone is not known.
        TakenError: there is one of this kind with this address.
        LimitError: the tenant has too many, or asked too many people today.
    """
    check_kind(tenant, kind)
    check_destination(kind, name, address, language, zone)
    if _count(connection, _of(tenant), DESTINATION.c.state != DestinationState.REMOVED) >= MOST_DESTINATIONS:
        raise LimitError(f"destinations: a tenant has at most {MOST_DESTINATIONS}")
    _check_asked(connection, tenant, now)
    origin = Origin.OPERATOR if tenant == OPERATORS else Origin.TENANT
    made = Destination(
        tenant,
        secrets.token_hex(16),
        kind,
        name,
        address,
        origin,
        DestinationState.UNCONFIRMED,
        make_secret() if kind is DestinationKind.WEBHOOK else "",
        language=language,
        zone=zone,
        created_at=now,
        created_by=created_by,
    )
    key = stable_id(f"address/{kind}/{address}")
    here = (_of(tenant), DESTINATION.c.address_key == key)
    # An older version that still runs beside this one removes destinations, and leaves them their keys.
    gone = (*here, DESTINATION.c.state == DestinationState.REMOVED)
    connection.execute(update(DESTINATION).where(*gone).values(address_key=None))
    try:
        # Whoever makes the same one at this moment is waited for; what was asked before does not tell of it.
        with connection.begin_nested():
            _insert(connection, made, key)
    except IntegrityError:
        taken = connection.execute(select(DESTINATION.c.destination_id).where(*here)).scalar()
        if taken is None:
            raise
        raise TakenError(taken) from None
    _ask(connection, made, now)
    return made


def ask_again(connection: Connection, tenant: str, destination_id: str, now: int) -> None:
    """Ask an unconfirmed destination once more whether it wants to be told; the former question is void.

    Raises:
        UnknownDestinationError: the tenant has none of this id that is unconfirmed.
        LimitError: the tenant asked too many people today.
    """
    lock_lane(connection, tenant, destination_id)
    found = get_destination(connection, tenant, destination_id)
    if found.state is not DestinationState.UNCONFIRMED:
        raise UnknownDestinationError(f"destination: {destination_id[:80]!r:.100}: is not unconfirmed")
    _check_asked(connection, tenant, now)
    _give_up_open(connection, found, Form.CONFIRMATION, "asked again", now)
    _ask(connection, found, now)


def ensure_contact(connection: Connection, tenant: str, address: str, now: int) -> Destination:
    """The destination of a connector's contact, made where there is none yet; a removed one stays removed."""
    destination_id = stable_id(f"destination/{tenant}/{address}")
    row = connection.execute(select(*_COLUMNS).where(*_is(tenant, destination_id))).first()
    if row is not None:
        return destination_of(row)
    made = Destination(
        tenant,
        destination_id,
        DestinationKind.MAIL,
        address,
        address,
        Origin.CONNECTOR,
        DestinationState.ACTIVE,
        created_at=now,
        created_by="connector",
        confirmed_at=now,
    )
    _insert(connection, made)
    return made


def lock_lane(connection: Connection, tenant: str, destination_id: str) -> None:
    """Have nobody else send or route to a destination until the transaction ends; always the first thing to lock."""
    lane = (LANE.c.tenant_id == tenant, LANE.c.destination_id == destination_id)
    connection.execute(select(LANE.c.fence).where(*lane).with_for_update()).all()


def confirmation_token(connection: Connection, destination: Destination) -> str:
    """What proves that a question whether somebody wants to be told was received; empty where none is open."""
    asked = select(DESTINATION.c.challenge).where(*_is(destination.tenant_id, destination.destination_id))
    challenge = connection.execute(asked).scalar_one()
    told = Told(destination.tenant_id, destination.destination_id)
    return make_token(link_key(connection), Purpose.CONFIRM, told, challenge) if challenge else ""


def confirm_by_token(connection: Connection, token: str, now: int) -> Destination:
    """Put to use the destination whose question was answered; one that is in use already stays so.

    Raises:
        TokenError: the answer is to no question that is open.
    """
    told = whose_token(token)
    asked = select(DESTINATION.c.challenge, DESTINATION.c.challenge_until).where(*_is(*told))
    row = connection.execute(asked).first()
    challenge = row.challenge if row is not None and row.challenge_until > now else ""
    check_token(link_key(connection), Purpose.CONFIRM, token, challenge or secrets.token_hex(16))
    return confirm(connection, *told, now)


def confirm(connection: Connection, tenant: str, destination_id: str, now: int) -> Destination:
    """Put a destination to use that said that it wants to be told.

    Raises:
        UnknownDestinationError: the tenant has none of this id.
    """
    lock_lane(connection, tenant, destination_id)
    found = get_destination(connection, tenant, destination_id)
    if found.state is DestinationState.UNCONFIRMED:
        _set(connection, found, state=DestinationState.ACTIVE, confirmed_at=now)
        _give_up_open(connection, found, Form.CONFIRMATION, "confirmed", now)
        wake_lane(connection, found, now)
    return get_destination(connection, tenant, destination_id)


def park(connection: Connection, destination: Destination, why: str, now: int) -> bool:
    """Send nothing more to a destination until somebody says so; what waits for it stays. Whether it was in use."""
    where = (*_is(destination.tenant_id, destination.destination_id), DESTINATION.c.state == DestinationState.ACTIVE)
    values = {"state": DestinationState.PARKED, "parked_at": now, "parked_why": why}
    if connection.execute(update(DESTINATION).where(*where).values(**values)).rowcount != 1:
        return False
    of_destination = (
        MESSAGE.c.tenant_id == destination.tenant_id,
        MESSAGE.c.destination_id == destination.destination_id,
        MESSAGE.c.state == OPEN,
    )
    open_ids = select(MESSAGE.c.message_id).where(*of_destination, MESSAGE.c.form.in_((Form.SINGLE, Form.DIGEST)))
    back = update(DELIVERY).where(
        DELIVERY.c.tenant_id == destination.tenant_id,
        DELIVERY.c.destination_id == destination.destination_id,
        DELIVERY.c.state == PACKED,
        DELIVERY.c.message_id.in_(open_ids),
    )
    connection.execute(back.values(state=WAITING, message_id=None, is_together=1, due_at=now))
    ended = {"state": GIVEN_UP, "ended_at": now, "last_why": why}
    connection.execute(update(MESSAGE).where(*of_destination).values(**ended))
    return True


def unpark(connection: Connection, tenant: str, destination_id: str, now: int) -> Destination:
    """Use a parked destination again: what waits for it goes at once and together.

    Raises:
        UnknownDestinationError: the tenant has none of this id.
    """
    lock_lane(connection, tenant, destination_id)
    found = get_destination(connection, tenant, destination_id)
    if found.state is DestinationState.PARKED:
        _set(connection, found, state=DestinationState.ACTIVE, parked_at=None, parked_why=None)
        waits = (
            DELIVERY.c.tenant_id == tenant,
            DELIVERY.c.destination_id == destination_id,
            DELIVERY.c.state == WAITING,
            DELIVERY.c.due_at <= now,
        )
        connection.execute(update(DELIVERY).where(*waits).values(is_together=1))
        wake_lane(connection, found, now)
    return get_destination(connection, tenant, destination_id)


def remove_destination(connection: Connection, tenant: str, destination_id: str, why: str, now: int) -> None:
    """Send nothing to a destination any more, for good, and forget its secrets and subscriptions.

    Raises:
        UnknownDestinationError: the tenant has none of this id.
    """
    lock_lane(connection, tenant, destination_id)
    found = get_destination(connection, tenant, destination_id)
    _set(
        connection,
        found,
        state=DestinationState.REMOVED,
        secret="",
        former_secret="",
        former_secret_until=None,
        challenge="",
        challenge_until=0,
        address_key=None,
    )
    here = (SUBSCRIPTION.c.tenant_id == tenant, SUBSCRIPTION.c.destination_id == destination_id)
    connection.execute(SUBSCRIPTION.delete().where(*here))
    ended = {"ended_at": now, "why": why}
    to_it = (DELIVERY.c.tenant_id == tenant, DELIVERY.c.destination_id == destination_id, DELIVERY.c.ended_at.is_(None))
    connection.execute(update(DELIVERY).where(*to_it).values(state=WITHDRAWN, **ended))
    messages = (MESSAGE.c.tenant_id == tenant, MESSAGE.c.destination_id == destination_id, MESSAGE.c.state == OPEN)
    connection.execute(update(MESSAGE).where(*messages).values(state=GIVEN_UP, ended_at=now, last_why=why))
    # Whoever sends to it now is not heard any more.
    lane = (LANE.c.tenant_id == tenant, LANE.c.destination_id == destination_id)
    connection.execute(update(LANE).where(*lane).values(due_at=NEVER, fence=LANE.c.fence + 1, lease_until=0))


def unsubscribe_token(key: bytes, destination: Destination) -> str:
    """What proves that somebody was sent what they want no more of."""
    return make_token(key, Purpose.UNSUBSCRIBE, Told(destination.tenant_id, destination.destination_id))


def unsubscribe_by_token(connection: Connection, token: str, now: int) -> Destination:
    """Remove the destination of whoever wants no more; once more does nothing.

    Raises:
        TokenError: the token was given to nobody, or to one that was removed so long ago that nothing tells of it.
    """
    told = check_token(link_key(connection), Purpose.UNSUBSCRIBE, token)
    try:
        found = get_destination(connection, *told)
    except UnknownDestinationError:
        raise TokenError("of a destination that was removed long ago") from None
    if found.state is not DestinationState.REMOVED:
        remove_destination(connection, *told, "unsubscribed", now)
    return found


def rotate_secret(connection: Connection, tenant: str, destination_id: str, now: int) -> Destination:
    """Give a webhook a new secret; the former one signs as well for a day.

    Raises:
        UnknownDestinationError: the tenant has none of this id that has a secret.
    """
    found = get_destination(connection, tenant, destination_id)
    if not found.secret:
        raise UnknownDestinationError(f"destination: {destination_id[:80]!r:.100}: has no secret")
    changes = {"secret": make_secret(), "former_secret": found.secret, "former_secret_until": now + OVERLAP_MS}
    _set(connection, found, **changes)
    return get_destination(connection, tenant, destination_id)


def send_test(connection: Connection, tenant: str, destination_id: str, now: int) -> str:
    """Have a test sent to a destination that is in use or parked; returns the message's id.

    Raises:
        UnknownDestinationError: the tenant has none of this id that may be sent to.
    """
    lock_lane(connection, tenant, destination_id)
    found = get_destination(connection, tenant, destination_id)
    if found.state not in _USED:
        raise UnknownDestinationError(f"destination: {destination_id[:80]!r:.100}: is not confirmed")
    message_id = _add_message(connection, found, Form.TEST, now)
    wake_lane(connection, found, now)
    return message_id


def make_message_id(now: int, place: int = 0) -> str:
    """An id of a message: letters, digits and underscores. Ids are in the order of moments and places in a moment."""
    return f"msg_{now:012x}{place:06x}{secrets.token_hex(8)}"


def wake_lane(connection: Connection, destination: Destination, now: int) -> None:
    """Have a destination's lane looked at now, whatever failed before."""
    opened = (
        MESSAGE.c.tenant_id == destination.tenant_id,
        MESSAGE.c.destination_id == destination.destination_id,
        MESSAGE.c.ended_at.is_(None),
    )
    connection.execute(update(MESSAGE).where(*opened).values(next_attempt_at=now))
    lane = (LANE.c.tenant_id == destination.tenant_id, LANE.c.destination_id == destination.destination_id)
    connection.execute(update(LANE).where(*lane).values(due_at=now, failures=0, failing_since=None))


def _ask(connection: Connection, destination: Destination, now: int) -> None:
    _set(connection, destination, challenge=secrets.token_hex(16), challenge_until=now + CHALLENGE_MS)
    _add_message(connection, destination, Form.CONFIRMATION, now)
    wake_lane(connection, destination, now)


def _check_asked(connection: Connection, tenant: str, now: int) -> None:
    asked = (
        MESSAGE.c.tenant_id == tenant,
        MESSAGE.c.form == Form.CONFIRMATION,
        MESSAGE.c.notices == 0,
        MESSAGE.c.made_at > now - DAY_MS,
    )
    if _count(connection, *asked) >= MOST_UNCONFIRMED:
        raise LimitError(
            f"destinations: a tenant may ask at most {MOST_UNCONFIRMED} a day whether they want to be told"
        )


def _add_message(connection: Connection, destination: Destination, form: Form, now: int) -> str:
    message_id = make_message_id(now)
    values = {
        "tenant_id": destination.tenant_id,
        "message_id": message_id,
        "destination_id": destination.destination_id,
        "form": form,
        "state": OPEN,
        "notices": 0,
        "made_at": now,
        "attempts": 0,
        "next_attempt_at": now,
    }
    connection.execute(insert(MESSAGE).values(**values))
    return message_id


def _give_up_open(connection: Connection, destination: Destination, form: Form, why: str, now: int) -> None:
    here = (
        MESSAGE.c.tenant_id == destination.tenant_id,
        MESSAGE.c.destination_id == destination.destination_id,
        MESSAGE.c.form == form,
        MESSAGE.c.state == OPEN,
    )
    connection.execute(update(MESSAGE).where(*here).values(state=GIVEN_UP, ended_at=now, last_why=why))


def _insert(connection: Connection, destination: Destination, address_key: str | None = None) -> None:
    others = {"challenge": "", "challenge_until": 0, "address_key": address_key}
    connection.execute(insert(DESTINATION).values(**destination._asdict(), **others))
    lane = {
        "tenant_id": destination.tenant_id,
        "destination_id": destination.destination_id,
        "kind": destination.kind,
        "due_at": NEVER,
        "grouped": 0,
        "lease_until": 0,
        "fence": 0,
        "failures": 0,
    }
    connection.execute(insert(LANE).values(**lane))


def _set(connection: Connection, destination: Destination, **values: Any) -> None:
    where = _is(destination.tenant_id, destination.destination_id)
    connection.execute(update(DESTINATION).where(*where).values(**values))


def _count(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).where(*conditions)).scalar_one())


def _of(tenant: str) -> ColumnElement[bool]:
    return DESTINATION.c.tenant_id == tenant


def _is(tenant: str, destination_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _of(tenant), DESTINATION.c.destination_id == destination_id
