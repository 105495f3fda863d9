"""What API and page let callers do with destinations and subscriptions; what they may not is a problem for them.

Every function takes a connection of a transaction, writing ones of one that writes. Moments are UTC milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import NamedTuple

from sqlalchemy import Connection

from streams.database.database import is_all_tenants
from streams.domain.validation import MalformedError
from streams.notices.checks import check_kind
from streams.notices.destinations import (
    LimitError,
    TakenError,
    UnknownDestinationError,
    ask_again,
    create_destination,
    get_destination,
    list_destinations,
    remove_destination,
    rotate_secret,
    unpark,
)
from streams.notices.facts import link_key
from streams.notices.history import Delivered, Place, deliveries
from streams.notices.messages import request_test
from streams.notices.model import OPERATORS, Destination, DestinationKind, DestinationState, Subscription
from streams.notices.subscriptions import UnknownSubscriptionError, list_subscriptions
from streams.report.access.callers import Caller
from streams.report.queries.cursors import read_cursor, sign_cursor
from streams.report.queries.rows import Page
from streams.report.web.problems import Problem, not_found
from streams.report.web.tenants import tenant_of

MOST_ID_CHARS = 64
SECURE = "https://"


class Owner(NamedTuple):
    """Whose destinations a request is about: the tenant of its transaction, and the one that its rows have."""

    fence: str
    tenant: str


class NewDestination(NamedTuple):
    """What a destination is made of."""

    kind: DestinationKind
    name: str
    address: str
    language: str
    zone: str


def owner_of(caller: Caller, named: str | None) -> Owner:
    """The owner that a request is about; operators for an operator that names no tenant.

    Raises:
        Problem: as `tenant_of`.
    """
    return owner_for(tenant_of(caller, named))


def owner_for(tenant: str) -> Owner:
    """The owner of what a tenant is told by; operators in the place of all tenants."""
    return Owner(tenant, OPERATORS if is_all_tenants(tenant) else tenant)


@contextmanager
def checked_by_ledger() -> Iterator[None]:
    """What the ledger refuses of what it was given is the caller's fault.

    Raises:
        Problem: it was refused.
    """
    try:
        yield
    except LimitError as error:
        raise Problem(HTTPStatus.CONFLICT, str(error)) from None
    except (UnknownDestinationError, UnknownSubscriptionError) as error:
        raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None


def known_destination(connection: Connection, tenant: str, destination_id: str) -> Destination:
    """A destination of a tenant, also a removed one, whose history stays.

    Raises:
        Problem: it never had one of this id.
    """
    try:
        return get_destination(connection, tenant, destination_id)
    except UnknownDestinationError:
        raise not_found("destination", destination_id) from None


def find_destination(connection: Connection, tenant: str, destination_id: str) -> Destination:
    """A destination of a tenant.

    Raises:
        Problem: it has none of this id, or no more.
    """
    found = known_destination(connection, tenant, destination_id)
    if found.state is DestinationState.REMOVED:
        raise not_found("destination", destination_id)
    return found


def find_subscription(connection: Connection, tenant: str, subscription_id: str) -> Subscription:
    """A subscription of a tenant.

    Raises:
        Problem: it has none of this id.
    """
    for one in list_subscriptions(connection, tenant):
        if one.subscription_id == subscription_id:
            return one
    raise not_found("subscription", subscription_id)


def add_destination(
    connection: Connection, tenant: str, wanted: NewDestination, now: int, created_by: str
) -> Destination:
    """Make a destination, once for each address.

    Raises:
        MalformedError: a value is none; the message says what it must be.
        ZoneError: the time zone is not known.
        LimitError: the tenant has too many, or asked too many people today.
        Problem: there is one with this address.
    """
    check_kind(tenant, wanted.kind)
    is_url = wanted.kind not in (DestinationKind.MAIL, DestinationKind.APPRISE)
    if is_url and not wanted.address.startswith(SECURE):
        raise MalformedError(f"address: {wanted.address[:80]!r:.100}: must begin with {SECURE}")
    try:
        for one in list_destinations(connection, tenant):
            if (one.kind, one.address) == (wanted.kind, wanted.address):
                raise TakenError(one.destination_id)
        return create_destination(connection, tenant=tenant, now=now, created_by=created_by, **wanted._asdict())
    except TakenError as error:
        raise Problem(HTTPStatus.CONFLICT, str(error)) from None


def ask_to_confirm(connection: Connection, tenant: str, destination_id: str, now: int) -> Destination:
    """Ask an unconfirmed destination once more whether it wants to be told.

    Raises:
        Problem: the tenant has none of this id, or it is confirmed.
        LimitError: the tenant asked too many people today.
    """
    found = find_destination(connection, tenant, destination_id)
    if found.state is not DestinationState.UNCONFIRMED:
        raise Problem(HTTPStatus.CONFLICT, f"destination: {destination_id!r}: is confirmed already")
    ask_again(connection, tenant, destination_id, now)
    return found


def send_test_to(connection: Connection, tenant: str, destination_id: str, now: int) -> str:
    """Have a test sent to a destination; returns the message's id.

    Raises:
        Problem: the tenant has none of this id, or it is not confirmed.
        LimitError: it had too many tests lately.
    """
    if find_destination(connection, tenant, destination_id).state is DestinationState.UNCONFIRMED:
        raise Problem(HTTPStatus.CONFLICT, f"destination: {destination_id!r}: is not confirmed yet")
    return request_test(connection, tenant, destination_id, now)


def unpark_destination(connection: Connection, tenant: str, destination_id: str, now: int) -> Destination:
    """Use a parked destination again; one that is in use stays so.

    Raises:
        Problem: the tenant has none of this id.
    """
    find_destination(connection, tenant, destination_id)
    return unpark(connection, tenant, destination_id, now)


def end_destination(connection: Connection, tenant: str, destination_id: str, why: str, now: int) -> None:
    """Send nothing to a destination any more, for good.

    Raises:
        Problem: the tenant has none of this id.
    """
    find_destination(connection, tenant, destination_id)
    remove_destination(connection, tenant, destination_id, why, now)


def renew_secret(connection: Connection, tenant: str, destination_id: str, now: int) -> Destination:
    """Give a webhook a new secret.

    Raises:
        Problem: the tenant has none of this id, or it has no secret.
    """
    if not find_destination(connection, tenant, destination_id).secret:
        raise Problem(HTTPStatus.CONFLICT, f"destination: {destination_id!r}: has no secret; only a webhook has one")
    return rotate_secret(connection, tenant, destination_id, now)


def list_deliveries(
    connection: Connection,
    tenant: str,
    *,
    notification_id: str | None = None,
    destination_id: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Delivered]:
    """What became of notices at a tenant's destinations, newest first.

    Args:
        connection: of a reading transaction of this tenant.
        tenant: whose destinations; `ALL_TENANTS` for all, those of operators too.
        notification_id: only of this notice.
        destination_id: only at this destination.
        limit: how many at most.
        cursor: of the page before.

    Raises:
        ValueError: the limit is out of bounds, or the cursor is none of this question.
    """
    key = hashlib.blake2b(b"cursors", key=link_key(connection), digest_size=32).digest()
    question = ("deliveries", tenant, notification_id, destination_id)
    behind: Place | None = None
    if cursor is not None:
        routed_at, whose, notification, destination = read_cursor(key, question, cursor)
        behind = (routed_at, whose, notification, destination)
    rows, place = deliveries(
        connection,
        tenant,
        notification_id=notification_id,
        destination_id=destination_id,
        limit=limit,
        behind=behind,
    )
    return Page(rows, None if place is None else sign_cursor(key, question, place))
