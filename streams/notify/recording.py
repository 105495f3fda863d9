"""Writes what was read into the ledger: notices, deliveries, what they make untrue, and offsets, all or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Integer, Text, column, func, select, tuple_, update, values

from streams.database.database import Database
from streams.database.positions import MovedError, move_position
from streams.database.upserts import Upsert, pieces, select_by_pairs
from streams.domain.ids import stable_id
from streams.kafka.places import Place
from streams.notices.destinations import EXPIRED, WAITING, WITHDRAWN, ensure_contact, find_destinations
from streams.notices.facts import began_at
from streams.notices.model import OPERATORS, Destination, DestinationState
from streams.notices.subscriptions import subscriptions_of
from streams.notices.tables import CONSUMER_OFFSET, DELIVERY, LANE, NOTICE, UNREADABLE
from streams.notify.notice import Notice
from streams.notify.packing import Grouping, grouped
from streams.notify.routing import Directory, Route, routes_of
from streams.notify.withdrawal import made_untrue

_NOTICES: Final = Upsert(NOTICE, keeps=True)
_DELIVERIES: Final = Upsert(DELIVERY, keeps=True)
_LANES: Final = Upsert(LANE)
_OFFSETS: Final = Upsert(CONSUMER_OFFSET, keeps=True)
_UNREADABLE: Final = Upsert(UNREADABLE, keeps=True)
_WHY_CHARS: Final = 500
_NO_BOUND: Final = 2**31 - 1
_SAME: Final = (NOTICE.c.tenant_id == DELIVERY.c.notice_tenant) & (
    NOTICE.c.notification_id == DELIVERY.c.notification_id
)
_OF_WAITING: Final = (
    *DELIVERY.primary_key.columns,
    DELIVERY.c.notice_tenant,
    NOTICE.c.kind,
    NOTICE.c.server,
    NOTICE.c.stage,
    NOTICE.c.occurred_at,
    NOTICE.c.source_offset,
)

Contacts = Callable[[str], Sequence[str]]
"""Gives the addresses that a tenant's connectors name."""


class Unreadable(NamedTuple):
    """A record that is no notification, or the last of a batch that cannot be read."""

    place: Place
    offset: int
    written_at: int
    reason: str


@dataclass(slots=True)
class Batch:
    """What was read of some partitions.

    `sources` names the topic behind each topic's name. `begins` and `ends` are positions: everything between them that
    the topic holds is in the batch, in order.
    """

    sources: Mapping[str, str]
    begins: dict[Place, int] = field(default_factory=dict)
    ends: dict[Place, int] = field(default_factory=dict)
    notices: Sequence[Notice] = ()
    unreadable: Sequence[Unreadable] = ()


@dataclass(slots=True)
class Recorded:
    """How many notices were new, how many deliveries they have, how many of these are expired, and were withdrawn."""

    notices: int = 0
    deliveries: int = 0
    expired: int = 0
    withdrawn: int = 0
    untold: int = 0
    """Notices that nobody is told of."""


class Recorder:
    """Writes batches into the ledger."""

    def __init__(
        self,
        database: Database,
        contacts: Contacts,
        group_above: int,
        clock: Callable[[], int],
        failpoint: Callable[[str], None],
    ) -> None:
        """Write into a ledger.

        Args:
            database: where its tables are.
            contacts: of a tenant's connectors.
            group_above: more notices than these go to a destination as one digest.
            clock: returns UTC milliseconds.
            failpoint: called with the name of each step.
        """
        self._database, self._contacts, self._group_above = database, contacts, group_above
        self._clock, self._failpoint = clock, failpoint

    def positions(self, sources: Mapping[str, str]) -> dict[Place, int]:
        """How far each partition was read; one that is left out was not read yet, nor one of another topic of its name.

        A topic that was made again is read from its beginning: what is in the ledger already is known by its id.
        """
        with self._database.writing() as connection:
            return _locked(connection, sources)

    def write(self, batch: Batch, *, is_behind: bool) -> Recorded:
        """Write what of a batch is not written yet; `is_behind` says that more waits to be read.

        Raises:
            MovedError: the ledger has not come as far as the batch begins, or somebody else moves on.
            DBAPIError: the database does not answer, or cannot write.
        """
        with self._database.writing() as connection:
            known = self._lock(connection, batch)
            found = [notice for notice in batch.notices if notice.offset >= known[notice.place]]
            recorded = self._record(connection, _unknown(connection, found), is_behind=is_behind)
            self._failpoint("recorded")
            _UNREADABLE.write(
                connection,
                (
                    (*one.place, one.offset, one.written_at, one.reason[:_WHY_CHARS].replace("\0", "\ufffd"))
                    for one in batch.unreadable
                    if one.offset >= known[one.place]
                ),
            )
            for place, end in batch.ends.items():
                if end > known[place]:
                    move_position(connection, CONSUMER_OFFSET, place, batch.sources[place.topic], known[place], end)
        self._failpoint("committed")
        return recorded

    def _lock(self, connection: Connection, batch: Batch) -> dict[Place, int]:
        begins = sorted(batch.begins.items())
        _OFFSETS.write(connection, [(topic, batch.sources[topic], number, at) for (topic, number), at in begins])
        known = _locked(connection, batch.sources)
        for place, begin in begins:
            if known[place] < begin:
                raise MovedError(f"{place.topic}-{place.partition}: offset {known[place]} is next, and not {begin}")
        return known

    def _record(self, connection: Connection, notices: Sequence[Notice], *, is_behind: bool) -> Recorded:
        if not notices:
            return Recorded()
        now = self._clock()
        directory = self._directory(connection, {notice.tenant_id for notice in notices}, now)
        began = began_at(connection)
        routes = {notice.key: routes_of(notice, directory, began, now) for notice in notices}
        _NOTICES.write(connection, (_notice_row(notice, len(routes[notice.key])) for notice in notices))
        flat = [route for of_notice in routes.values() for route in of_notice]
        _DELIVERIES.write(connection, (_delivery_row(route, now) for route in flat))
        untrue = _untrue(connection, notices)
        # Nobody packs what is withdrawn meanwhile: whoever packs has the lane.
        self._wake(connection, flat, {one[2] for one in untrue}, now, is_behind=is_behind)
        withdrawn = _withdraw(connection, untrue, now)
        expired = sum(route.is_expired for route in flat)
        untold = sum(not of_notice for of_notice in routes.values())
        return Recorded(len(notices), len(flat), expired, withdrawn, untold)

    def _directory(self, connection: Connection, tenants: set[str], now: int) -> Directory:
        subscriptions = subscriptions_of(connection, [OPERATORS, *sorted(tenants)])
        destinations = find_destinations(connection, {one.destination_id for one in subscriptions})
        wanted = {tenant: self._contacts(tenant) for tenant in tenants}
        ids = {
            stable_id(f"destination/{tenant}/{address}")
            for tenant, addresses in wanted.items()
            for address in addresses
        }
        known = {(one.tenant_id, one.address): one for one in find_destinations(connection, ids).values()}

        def contacts(tenant: str) -> list[Destination]:
            return [
                known.get((tenant, address)) or ensure_contact(connection, tenant, address, now)
                for address in wanted[tenant]
            ]

        return Directory(subscriptions, destinations, contacts)

    def _wake(
        self, connection: Connection, routes: Iterable[Route], others: set[str], now: int, *, is_behind: bool
    ) -> None:
        """Have the lanes of what was routed looked at in time. They and others are locked in one order, as by all."""
        at_once: Counter[str] = Counter()
        later: dict[str, int] = {}
        for route in routes:
            if route.is_expired or route.destination.state is not DestinationState.ACTIVE:
                continue
            destination_id = route.destination.destination_id
            if route.due_at <= now:
                at_once[destination_id] += 1
            else:
                later[destination_id] = min(route.due_at, later.get(destination_id, route.due_at))
        ids = sorted({*at_once, *later, *others})
        for some in pieces(ids):
            asked = select(LANE).where(LANE.c.destination_id.in_(some))
            rows = connection.execute(asked.order_by(LANE.c.destination_id).with_for_update())
            changed = []
            for row in rows.mappings().all():
                one = row["destination_id"]
                if one not in at_once and one not in later:
                    continue
                before = Grouping(row["due_at"], row["grouping_since"], row["grouped"])
                after = grouped(before, at_once[one], later.get(one), now, self._group_above, is_behind=is_behind)
                # A lane that fails is looked at when it may work again.
                due_at = before.due_at if row["failures"] else after.due_at
                values = dict(row) | {"due_at": due_at, "grouping_since": after.since, "grouped": after.came}
                changed.append(tuple(values.values()))
            _LANES.write(connection, changed)


def _unknown(connection: Connection, notices: Sequence[Notice]) -> list[Notice]:
    """Those of some notices that the ledger does not know, each once."""
    first: dict[tuple[str, str], Notice] = {}
    for notice in notices:
        first.setdefault(notice.key, notice)
    rows = select_by_pairs(connection, "tenant_id, notification_id", NOTICE, list(first))
    known = {(tenant_id, notification_id) for tenant_id, notification_id in rows}
    return [notice for key, notice in first.items() if key not in known]


def _untrue(connection: Connection, notices: Sequence[Notice]) -> list[tuple[Notice, str, str, str]]:
    """The deliveries that wait and are not true any more, by their keys, each with the notice that says so."""
    rules = [(notice, rule) for notice in notices for rule in made_untrue(notice)]
    bounds: dict[tuple[str, str, str], int] = {}
    for notice, rule in rules:
        for kind in rule.kinds if rule.server is not None else ():
            about_server = (notice.tenant_id, str(rule.server), kind)
            bound = _NO_BOUND if rule.below_stage is None else rule.below_stage
            bounds[about_server] = max(bound, bounds.get(about_server, 0))
    wanted = sorted((*key, bound) for key, bound in bounds.items())
    about: dict[tuple[str, str | None], list[Any]] = {}
    for piece in pieces(wanted):
        names = (column("tenant", Text), column("server", Text), column("kind", Text), column("bound", Integer))
        some = values(*names, name="wanted").data(list(piece)).cte()
        is_wanted = (
            (NOTICE.c.tenant_id == some.c.tenant)
            & (NOTICE.c.server == some.c.server)
            & (NOTICE.c.kind == some.c.kind)
            # Of a storm about one server nearly all stays true: what does is not fetched.
            & (func.coalesce(NOTICE.c.stage, 0) < some.c.bound)
        )
        # Two questions: together, a database that has not looked at its tables yet begins with all that waits.
        told = select(NOTICE.c.tenant_id, NOTICE.c.notification_id).select_from(some.join(NOTICE, is_wanted))
        for row in _waiting(connection, [(tenant, one) for tenant, one in connection.execute(told)]):
            about.setdefault((row.notice_tenant, row.server), []).append(row)
    found = []
    for notice, rule in rules:
        if rule.server is None:
            conditions = [NOTICE.c.tenant_id == notice.tenant_id, DELIVERY.c.state == WAITING]
            if not rule.is_whole_tenant:
                conditions.append(NOTICE.c.server.is_(None))
            asked = select(*_OF_WAITING).join(NOTICE, _SAME).where(*conditions, NOTICE.c.kind.in_(rule.kinds))
            rows: Iterable[Any] = connection.execute(asked)
        else:
            rows = about.get((notice.tenant_id, rule.server), ())
        for row in rows:
            is_before = (row.occurred_at, row.source_offset) < (notice.occurred_at, notice.offset)
            if is_before and row.kind in rule.kinds and _is_below(row.stage, rule.below_stage):
                found.append((notice, row.tenant_id, row.destination_id, row.notification_id))
    return found


def _waiting(connection: Connection, keys: Sequence[tuple[str, str]]) -> Iterator[Any]:
    """The deliveries of some notices that wait."""
    for some in pieces(keys):
        of_notices = tuple_(DELIVERY.c.notice_tenant, DELIVERY.c.notification_id).in_(some)
        asked = select(*_OF_WAITING).select_from(DELIVERY.join(NOTICE, _SAME))
        yield from connection.execute(asked.where(of_notices, DELIVERY.c.state == WAITING))


def _is_below(stage: int | None, bound: int | None) -> bool:
    return bound is None or (stage is not None and stage < bound)


def _withdraw(connection: Connection, untrue: Iterable[tuple[Notice, str, str, str]], now: int) -> int:
    """Withdraw deliveries, each with the notice that says why, unless they are sent meanwhile; returns their number."""
    first: dict[tuple[str, str, str], str] = {}
    for notice, *key in untrue:
        first.setdefault((key[0], key[1], key[2]), f"untrue since {notice.notification_id}")
    count = 0
    for some in pieces(sorted((*key, why) for key, why in first.items())):
        names = (column("tenant", Text), column("destination", Text), column("notification", Text), column("why", Text))
        gone = values(*names, name="gone").data(list(some)).cte()
        same = (
            (DELIVERY.c.tenant_id == gone.c.tenant)
            & (DELIVERY.c.destination_id == gone.c.destination)
            & (DELIVERY.c.notification_id == gone.c.notification)
        )
        ended = {"state": WITHDRAWN, "ended_at": now, "why": gone.c.why}
        changed = update(DELIVERY).where(same, DELIVERY.c.state == WAITING).values(**ended)
        # SQLite's driver counts no rows of a statement that begins with a table of its own.
        count += len(connection.execute(changed.returning(DELIVERY.c.notification_id)).all())
    return count


def _locked(connection: Connection, sources: Mapping[str, str]) -> dict[Place, int]:
    """How far each partition was read, which nobody else changes until the transaction ends."""
    rows = connection.execute(select(CONSUMER_OFFSET).order_by("topic", "partition").with_for_update())
    return {Place(row.topic, row.partition): row.position for row in rows if sources.get(row.topic) == row.topic_id}


def _notice_row(notice: Notice, deliveries: int) -> tuple[Any, ...]:
    return (
        notice.tenant_id,
        notice.notification_id,
        notice.kind,
        notice.severity,
        notice.server,
        notice.stage,
        notice.occurred_at,
        notice.written_at,
        deliveries,
        notice.place.partition,
        notice.offset,
        notice.detail,
    )


def _delivery_row(route: Route, now: int) -> tuple[Any, ...]:
    notice, destination = route.notice, route.destination
    ended = (now, "too old to be told") if route.is_expired else (None, None)
    return (
        destination.tenant_id,
        destination.destination_id,
        notice.notification_id,
        notice.tenant_id,
        route.subscription_id,
        EXPIRED if route.is_expired else WAITING,
        notice.severity,
        int(route.is_together),
        now,
        route.due_at,
        None,
        *ended,
    )
