"""Which destinations are told of a notice, and when. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from streams.domain.outputs.notification import Severity
from streams.domain.time import DAY_MS
from streams.notices.model import OPERATORS, Destination, DestinationState, Subscription
from streams.notices.times import Due, ZoneError, due_of
from streams.notify.notice import Notice

OLDEST_MS: Final = 7 * DAY_MS
"""What happened longer ago is told nobody any more."""
DEFAULT_SUBSCRIPTION: Final = ""
"""In the place of a subscription's id: a contact of a connector, which is told of everything at once."""
_RANKS: Final = {str(severity): rank for rank, severity in enumerate(Severity)}
_USED: Final = (DestinationState.ACTIVE, DestinationState.PARKED)


class Route(NamedTuple):
    """A notice for a destination; moments in UTC milliseconds. One that is too old to be told `is_expired`."""

    notice: Notice
    destination: Destination
    subscription_id: str
    due_at: int
    is_together: bool
    is_expired: bool


class Directory:
    """Who is subscribed to what: of tenants, of operators, and contacts of connectors where a tenant has nobody."""

    def __init__(
        self,
        subscriptions: Iterable[Subscription],
        destinations: Mapping[str, Destination],
        contacts: Callable[[str], Sequence[Destination]],
    ) -> None:
        """Know subscriptions with their destinations by id; `contacts` gives those of a tenant's connectors."""
        self._by_tenant: dict[str, list[tuple[Subscription, Destination]]] = {}
        self._contacts = contacts
        for subscription in subscriptions:
            destination = destinations.get(subscription.destination_id)
            if destination is not None and destination.state in _USED:
                self._by_tenant.setdefault(subscription.tenant_id, []).append((subscription, destination))

    def told(self, tenant: str) -> list[tuple[Subscription, Destination]]:
        """Who may be told of a tenant's notices, with what they are subscribed to."""
        own = self._by_tenant.get(tenant) or [
            (Subscription(tenant, DEFAULT_SUBSCRIPTION, contact.destination_id), contact)
            for contact in self._contacts(tenant)
            if contact.state in _USED
        ]
        return [*own, *self._by_tenant.get(OPERATORS, ())]


def routes_of(notice: Notice, directory: Directory, began_at: int, now: int) -> list[Route]:
    """Where a notice goes, one route a destination: that of the subscription by which it goes first.

    Args:
        notice: the notice.
        directory: who is subscribed.
        began_at: when the ledger began; contacts are told nothing that was written before.
        now: the moment.
    """
    routes: dict[str, tuple[tuple[int, bool], Route]] = {}
    for subscription, destination in directory.told(notice.tenant_id):
        begins = subscription.created_at if subscription.subscription_id else began_at
        if notice.written_at < begins or not wants(subscription, notice):
            continue
        if now - notice.occurred_at > OLDEST_MS:
            route = Route(notice, destination, subscription.subscription_id, now, is_together=False, is_expired=True)
        else:
            due = _due(subscription, destination.zone, notice.severity, now)
            route = Route(notice, destination, subscription.subscription_id, due.at, due.is_together, is_expired=False)
        # What is late may come amid quiet hours: one that has none counts first then.
        order = (route.due_at, subscription.quiet_from is not None)
        known = routes.get(destination.destination_id)
        if known is None or order < known[0]:
            routes[destination.destination_id] = order, route
    return [route for _, route in routes.values()]


def _due(subscription: Subscription, zone: str, severity: str, now: int) -> Due:
    try:
        return due_of(subscription, zone, severity, now)
    except ZoneError:
        # Of a zone that is known no more, or not here: whoever is told by another clock is told all the same.
        return due_of(subscription, "UTC", severity, now)


def wants(subscription: Subscription, notice: Notice) -> bool:
    """Whether a subscription is to notices like this."""
    if subscription.kinds is not None and notice.kind not in subscription.kinds:
        return False
    if _RANKS.get(notice.severity, 0) < _RANKS[subscription.least_severity]:
        return False
    if subscription.servers is None:
        return True
    return notice.server is not None and matches(subscription.servers, notice.server)


def matches(pattern: str, name: str) -> bool:
    """Whether a name is like a pattern with `*` and `?`, whatever its case; takes no longer than both are long."""
    name = name.lower()
    first, *others = _parts(pattern)
    found = first.match(name)
    if found is None or not others:
        return found is not None and found.end() == len(name)
    at = found.end()
    for part in others[:-1]:
        found = part.search(name, at)
        if found is None:
            return False
        at = found.end()
    # All but the last took as little as they could.
    last = len(name) - len(_texts(pattern)[-1])
    return last >= at and others[-1].match(name, last) is not None


def _texts(pattern: str) -> list[str]:
    return pattern.lower().split("*")


@lru_cache(10_000)
def _parts(pattern: str) -> list[re.Pattern[str]]:
    return [re.compile(re.escape(text).replace(r"\?", "."), re.DOTALL) for text in _texts(pattern)]
