"""Subscriptions: what a destination is told, and when.

Every function takes a connection of a transaction, writing ones of one that writes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from streams.database.upserts import pieces
from streams.notices.checks import check_subscription, known_kinds
from streams.notices.destinations import LimitError, UnknownDestinationError, get_destination
from streams.notices.model import DestinationState, Digest, Subscription
from streams.notices.tables import SUBSCRIPTION

MOST_SUBSCRIPTIONS: Final = 200
"""Of a tenant."""
_COLUMNS: Final = tuple(SUBSCRIPTION.c[name] for name in Subscription._fields)


class UnknownSubscriptionError(LookupError):
    """A tenant has no such subscription."""


def list_subscriptions(connection: Connection, tenant: str) -> list[Subscription]:
    """A tenant's subscriptions, oldest first; `OPERATORS` for those of operators."""
    ordered = select(*_COLUMNS).order_by(SUBSCRIPTION.c.created_at, SUBSCRIPTION.c.subscription_id)
    return [_subscription_of(row) for row in connection.execute(ordered.where(SUBSCRIPTION.c.tenant_id == tenant))]


def subscriptions_of(connection: Connection, tenants: Iterable[str]) -> list[Subscription]:
    """The subscriptions of some tenants."""
    found = []
    for some in pieces(list(tenants)):
        asked = select(*_COLUMNS).where(SUBSCRIPTION.c.tenant_id.in_(some))
        found += [_subscription_of(row) for row in connection.execute(asked)]
    return found


def create_subscription(connection: Connection, wanted: Subscription, now: int, created_by: str) -> Subscription:
    """Subscribe a destination from now on; returns it with its id.

    Raises:
        MalformedError: a value is none; the message says what it must be.
        UnknownDestinationError: the tenant has no such destination.
        LimitError: the tenant has too many.
    """
    check_subscription(wanted)
    found = get_destination(connection, wanted.tenant_id, wanted.destination_id)
    if found.state is DestinationState.REMOVED:
        raise UnknownDestinationError(f"destination: {wanted.destination_id[:80]!r:.100}: was removed")
    counted = select(func.count()).where(SUBSCRIPTION.c.tenant_id == wanted.tenant_id)
    if connection.execute(counted).scalar_one() >= MOST_SUBSCRIPTIONS:
        raise LimitError(f"subscriptions: a tenant has at most {MOST_SUBSCRIPTIONS}")
    kinds = known_kinds(wanted.kinds)
    made = wanted._replace(subscription_id=secrets.token_hex(16), kinds=kinds, created_at=now, created_by=created_by)
    connection.execute(insert(SUBSCRIPTION).values(**_row_of(made)))
    return made


def change_subscription(connection: Connection, wanted: Subscription) -> Subscription:
    """Change what a destination is told, and when; what was routed before goes as it was routed.

    Raises:
        MalformedError: a value is none; the message says what it must be.
        UnknownSubscriptionError: the tenant has none of this id at this destination.
    """
    check_subscription(wanted)
    kept = ("tenant_id", "subscription_id", "destination_id", "created_at", "created_by")
    row = _row_of(wanted._replace(kinds=known_kinds(wanted.kinds)))
    here = [SUBSCRIPTION.c[name] == row[name] for name in kept[:3]]
    changes = {name: value for name, value in row.items() if name not in kept}
    if connection.execute(update(SUBSCRIPTION).where(*here).values(**changes)).rowcount != 1:
        raise UnknownSubscriptionError(f"subscription: {wanted.subscription_id[:80]!r:.100}: unknown")
    return _subscription_of(connection.execute(select(*_COLUMNS).where(*here)).one())


def remove_subscription(connection: Connection, tenant: str, subscription_id: str) -> None:
    """End a subscription; what was routed by it goes.

    Raises:
        UnknownSubscriptionError: the tenant has none of this id.
    """
    here = (SUBSCRIPTION.c.tenant_id == tenant, SUBSCRIPTION.c.subscription_id == subscription_id)
    if connection.execute(SUBSCRIPTION.delete().where(*here)).rowcount != 1:
        raise UnknownSubscriptionError(f"subscription: {subscription_id[:80]!r:.100}: unknown")


def _row_of(subscription: Subscription) -> dict[str, Any]:
    kinds = None if subscription.kinds is None else ",".join(subscription.kinds)
    quiet = int(subscription.is_quiet_for_critical)
    return subscription._asdict() | {"kinds": kinds, "is_quiet_for_critical": quiet}


def _subscription_of(row: Any) -> Subscription:
    found = Subscription(*row)
    return found._replace(
        kinds=None if row.kinds is None else tuple(row.kinds.split(",")),
        digest=Digest(found.digest),
        is_quiet_for_critical=bool(found.is_quiet_for_critical),
    )
