"""Lanes to destinations: taken for a while, with what is to be sent; given back with what became of it.

Whoever takes a lane gets a number that grows with every claim, its fence. What is given back under an older one is
refused: another one has taken the lane meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, func, select, update

from streams.database.database import Database
from streams.database.upserts import Upsert, pieces
from streams.domain.time import SECOND_MS
from streams.notices.destinations import (
    EXPIRED,
    GIVEN_UP,
    OPEN,
    PACKED,
    SENT,
    WAITING,
    confirm,
    confirmation_token,
    find_destinations,
    make_message_id,
    park,
    unsubscribe_token,
)
from streams.notices.facts import link_key
from streams.notices.model import Destination, DestinationKind, DestinationState, Form, Message, Outcome, OutcomeKind
from streams.notices.tables import ATTEMPT, DELIVERY, DESTINATION, LANE, MESSAGE, NEVER, NOTICE
from streams.notify.notice import record_of
from streams.notify.packing import Held, Waiting, pack, shown
from streams.notify.retrying import next_of
from streams.notify.routing import OLDEST_MS

LEASE_MS: Final = 60 * SECOND_MS
"""So long nobody else takes a lane."""
MOST_DUE: Final = 1_000
"""Notices of a lane that are looked at in one claim."""
_LANES: Final = Upsert(LANE)
_MESSAGES: Final = Upsert(MESSAGE)
_DELIVERIES: Final = Upsert(DELIVERY)
_ATTEMPTS: Final = Upsert(ATTEMPT, keeps=True)
_ALLOWED: Final[Mapping[DestinationState, Collection[str]]] = {
    DestinationState.ACTIVE: (Form.SINGLE, Form.DIGEST, Form.TEST),
    DestinationState.PARKED: (Form.TEST,),
    DestinationState.UNCONFIRMED: (Form.CONFIRMATION,),
    DestinationState.REMOVED: (),
}
"""What a destination is sent, by its state."""


class Claim(NamedTuple):
    """A lane that was taken until `until` (UTC milliseconds), with the messages to be sent in this order.

    `came_at` has, by message, when the notices that it holds were written to their topic.
    """

    destination: Destination
    fence: int
    until: int
    failures: int
    failing_since: int | None
    messages: tuple[Message, ...]
    came_at: Mapping[str, tuple[int, ...]]


class Attempt(NamedTuple):
    """A message that was tried, when, and how it went."""

    message: Message
    at: int
    ended_at: int
    outcome: Outcome


class Run(NamedTuple):
    """What was done with a lane; the last attempt may have failed, those before it did not.

    `waits_until` is when its channel may be back, where that is away.
    """

    claim: Claim
    attempts: tuple[Attempt, ...]
    waits_until: int | None = None


@dataclass(slots=True)
class Finished:
    """What became of runs: refused ones, destinations that were parked with the reason, and confirmed ones."""

    refused: list[Run] = field(default_factory=list)
    parked: list[tuple[Destination, str]] = field(default_factory=list)
    confirmed: list[Destination] = field(default_factory=list)


class Lanes:
    """Claims lanes, and writes what became of them."""

    def __init__(
        self,
        database: Database,
        owner: str,
        group_above: int,
        clock: Callable[[], int],
        chance: Callable[[], float],
        failpoint: Callable[[str], None],
    ) -> None:
        """Use the lanes of a ledger.

        Args:
            database: where its tables are.
            owner: names this process to people.
            group_above: more notices than these go to a destination as one digest.
            clock: returns UTC milliseconds.
            chance: returns numbers from 0 to 1.
            failpoint: called with the name of each step.
        """
        self._database, self._owner, self._group_above = database, owner, group_above
        self._clock, self._chance, self._failpoint = clock, chance, failpoint

    def claim(self, kinds: Collection[DestinationKind], limit: int, is_failing: bool = False) -> list[Claim]:
        """Take lanes that are due, those that wait longest first, and pack what is to be sent.

        Args:
            kinds: only to destinations of these kinds.
            limit: how many at most.
            is_failing: lanes whose last attempt failed, instead of the others.

        Raises:
            DBAPIError: the database does not answer, or cannot write.
        """
        now = self._clock()
        claims: list[Claim] = []
        with self._database.writing() as connection:
            lanes = self._take(connection, kinds, limit, now, is_failing=is_failing)
            if lanes:
                claims = self._pack(connection, lanes, now)
            self._failpoint("claiming")
        self._failpoint("claimed")
        return claims

    def finish(self, runs: Sequence[Run]) -> Finished:
        """Write what became of lanes, and give them back.

        Raises:
            DBAPIError: the database does not answer, or cannot write; nothing was written.
        """
        finished = Finished()
        by_id = {run.claim.destination.destination_id: run for run in runs}
        with self._database.writing() as connection:
            lanes = _locked(connection, sorted(by_id))
            mine: list[tuple[Run, dict[str, Any]]] = []
            for destination_id, run in sorted(by_id.items()):
                lane = lanes.get(destination_id)
                if lane is None or lane["fence"] != run.claim.fence:
                    finished.refused.append(run)
                else:
                    mine.append((run, lane))
            self._write(connection, mine, finished)
            self._failpoint("finishing")
        self._failpoint("finished")
        return finished

    def _take(
        self, connection: Connection, kinds: Collection[DestinationKind], limit: int, now: int, *, is_failing: bool
    ) -> list[dict[str, Any]]:
        columns = LANE.c
        due = (columns.due_at <= now, columns.lease_until <= now, columns.kind.in_(sorted(kinds)))
        failing = columns.failures > 0 if is_failing else columns.failures == 0
        asked = select(LANE).where(*due, failing).order_by(columns.due_at).limit(limit)
        rows = connection.execute(asked.with_for_update(skip_locked=True)).mappings()
        taken = []
        for row in rows.all():
            changes = {
                "due_at": now + LEASE_MS,
                "grouping_since": None,
                "grouped": 0,
                "lease_owner": self._owner,
                "lease_until": now + LEASE_MS,
                "fence": row["fence"] + 1,
            }
            taken.append(dict(row) | changes)
        _LANES.write(connection, sorted(tuple(lane.values()) for lane in taken))
        return taken

    def _pack(self, connection: Connection, lanes: Sequence[dict[str, Any]], now: int) -> list[Claim]:
        ids = [lane["destination_id"] for lane in lanes]
        destinations = find_destinations(connection, ids)
        messages = self._open_messages(connection, destinations, now)
        may_pack = [
            lane["destination_id"]
            for lane in lanes
            if not lane["failures"] and destinations[lane["destination_id"]].state is DestinationState.ACTIVE
        ]
        for row in self._new_messages(connection, may_pack, now):
            messages.setdefault(row["destination_id"], []).append(row)
        key, claims, idle = link_key(connection), [], []
        contents = _contents(connection, [row for rows in messages.values() for row in rows])
        for lane in lanes:
            destination = destinations[lane["destination_id"]]
            rows = messages.get(destination.destination_id, [])
            if lane["failures"]:
                # What a person asked for is tried as well.
                asked_for = [row for row in rows if row["form"] == Form.TEST]
                rows = asked_for + [row for row in rows if row["form"] != Form.TEST][:1]
            if not rows:
                free = {"lease_owner": None, "lease_until": 0, "failures": 0, "failing_since": None}
                idle.append(lane | free)
                continue
            token = unsubscribe_token(key, destination)
            if destination.state is DestinationState.UNCONFIRMED:
                token = confirmation_token(connection, destination)
            held = {row["message_id"]: contents.get(row["message_id"], []) for row in rows}
            made = tuple(_message(row, held[row["message_id"]], token) for row in rows)
            came_at = {one: tuple(notice.written_at for notice in notices) for one, notices in held.items()}
            lease = (lane["fence"], lane["lease_until"], lane["failures"], lane["failing_since"])
            claims.append(Claim(destination, *lease, made, came_at))
        nexts = _nexts(connection, idle)
        for lane in idle:
            lane["due_at"] = nexts[lane["destination_id"]]
        _LANES.write(connection, sorted(tuple(lane.values()) for lane in idle))
        return claims

    def _open_messages(
        self, connection: Connection, destinations: Mapping[str, Destination], now: int
    ) -> dict[str, list[dict[str, Any]]]:
        """Messages that were made before and not delivered, by destination: what people asked for first."""
        found: dict[str, list[dict[str, Any]]] = {}
        late = []
        for some in pieces(sorted(destinations)):
            asked = select(MESSAGE).where(MESSAGE.c.destination_id.in_(some), MESSAGE.c.ended_at.is_(None))
            for row in connection.execute(asked.order_by(MESSAGE.c.made_at, MESSAGE.c.message_id)).mappings():
                destination = destinations[row["destination_id"]]
                if row["form"] in _ALLOWED[destination.state]:
                    found.setdefault(destination.destination_id, []).append(dict(row))
                elif destination.state is not DestinationState.PARKED:
                    late.append(dict(row) | {"state": GIVEN_UP, "ended_at": now, "last_why": str(destination.state)})
        if any(row["form"] == Form.CONFIRMATION for rows in found.values() for row in rows):
            for destination_id in _unanswered(connection, list(found), now):
                gone = [row for row in found.pop(destination_id) if row["form"] == Form.CONFIRMATION]
                late += [
                    row | {"state": GIVEN_UP, "ended_at": now, "last_why": "not confirmed in time"} for row in gone
                ]
        _MESSAGES.write(connection, (tuple(row.values()) for row in late))
        for rows in found.values():
            rows.sort(key=lambda row: (row["form"] not in (Form.TEST, Form.CONFIRMATION), row["message_id"]))
        return found

    def _new_messages(self, connection: Connection, ids: Sequence[str], now: int) -> list[dict[str, Any]]:
        """Pack what is due in some lanes; returns the rows of the messages, in order."""
        rank = func.row_number().over(
            partition_by=DELIVERY.c.destination_id, order_by=(DELIVERY.c.due_at, DELIVERY.c.notification_id)
        )
        lanes: dict[str, list[Any]] = {}
        for some in pieces(ids):
            waits = (
                DELIVERY.c.destination_id.in_(some),
                DELIVERY.c.ended_at.is_(None),
                DELIVERY.c.state == WAITING,
                DELIVERY.c.due_at <= now,
            )
            ranked = select(DELIVERY, rank.label("place")).where(*waits).subquery()
            same = (NOTICE.c.tenant_id == ranked.c.notice_tenant) & (
                NOTICE.c.notification_id == ranked.c.notification_id
            )
            asked = select(ranked, NOTICE.c.occurred_at).join(NOTICE, same).where(ranked.c.place <= MOST_DUE)
            for row in connection.execute(asked):
                lanes.setdefault(row.destination_id, []).append(row)
        made: list[dict[str, Any]] = []
        changed: list[tuple[Any, ...]] = []
        for destination_id, rows in sorted(lanes.items()):
            due, by_id = [], {row.notification_id: row for row in rows}
            for row in rows:
                if now - row.occurred_at > OLDEST_MS:
                    gone = {"state": EXPIRED, "ended_at": now, "why": "too old to be told"}
                    changed.append(_delivery(row, **gone))
                else:
                    due.append(Waiting(row.notification_id, row.severity, row.occurred_at, bool(row.is_together)))
            for packed in pack(due, self._group_above):
                message = {
                    "tenant_id": rows[0].tenant_id,
                    "message_id": make_message_id(now, len(made)),
                    "destination_id": destination_id,
                    "form": str(packed.form),
                    "state": OPEN,
                    "notices": len(packed.notification_ids),
                    "made_at": now,
                    "attempts": 0,
                    "next_attempt_at": now,
                    "last_code": None,
                    "last_outcome": None,
                    "last_why": None,
                    "ended_at": None,
                }
                made.append(message)
                changed += [
                    _delivery(by_id[one], state=PACKED, message_id=message["message_id"])
                    for one in packed.notification_ids
                ]
        _MESSAGES.write(connection, (tuple(row.values()) for row in made))
        _DELIVERIES.write(connection, changed)
        return made

    def _write(self, connection: Connection, mine: Sequence[tuple[Run, dict[str, Any]]], finished: Finished) -> None:
        tried = {one.message.message_id: one for run, _ in mine for one in run.attempts}
        rows = _messages(connection, sorted(tried))
        lanes: list[tuple[dict[str, Any], bool]] = []
        ends: list[dict[str, Any]] = []
        now = self._clock()
        parking: list[tuple[Destination, str]] = []
        for run, lane in mine:
            lane |= {"lease_owner": None, "lease_until": 0}
            waits_until = run.waits_until
            for attempt in run.attempts:
                row = rows.get(attempt.message.message_id)
                if row is None or row["ended_at"] is not None:
                    continue  # it was withdrawn while it was sent
                waits_until = self._take_over(row, lane, attempt, parking, run.claim.destination) or waits_until
                if row["ended_at"] is not None:
                    ends.append(row)
                is_answer = row["form"] == Form.CONFIRMATION and row["state"] == SENT
                if is_answer and run.claim.destination.kind is DestinationKind.WEBHOOK:
                    finished.confirmed.append(run.claim.destination)
            if waits_until is not None:
                lane["due_at"] = max(waits_until, now)
            elif run.claim.failures:
                lane["due_at"] = NEVER  # until when it was taken: nothing was grouped at a lane that failed
            lanes.append((lane, waits_until is not None))
        _ATTEMPTS.write(connection, [_attempt_row(rows[one], tried[one]) for one in sorted(tried) if one in rows])
        _MESSAGES.write(connection, [tuple(rows[one].values()) for one in sorted(rows)])
        for state in (SENT, GIVEN_UP):
            ids = [row["message_id"] for row in ends if row["state"] == state]
            for some in pieces(ids):
                held = (DELIVERY.c.message_id.in_(some), DELIVERY.c.state == PACKED)
                connection.execute(update(DELIVERY).where(*held).values(state=state, ended_at=now))
        for destination, why in parking:
            if park(connection, destination, why, now):
                finished.parked.append((destination, why))
        for destination in finished.confirmed:
            confirm(connection, destination.tenant_id, destination.destination_id, now)
        free = [lane for lane, is_waiting in lanes if not is_waiting]
        nexts = _nexts(connection, free)
        for lane in free:
            lane["due_at"] = nexts[lane["destination_id"]]
        _LANES.write(connection, [tuple(lane.values()) for lane, _ in lanes])

    def _take_over(
        self,
        row: dict[str, Any],
        lane: dict[str, Any],
        attempt: Attempt,
        parking: list[tuple[Destination, str]],
        destination: Destination,
    ) -> int | None:
        """Change a message and its lane by an attempt; returns when the lane waits until, None if it does not."""
        outcome, at = attempt.outcome, attempt.ended_at
        row |= {"last_code": outcome.code, "last_outcome": str(outcome.kind), "last_why": outcome.why}
        if outcome.kind is OutcomeKind.CHANNEL_AWAY:
            return None
        row["attempts"] += 1
        is_test = row["form"] == Form.TEST
        if outcome.kind is OutcomeKind.DELIVERED:
            row |= {"state": SENT, "ended_at": at}
        elif outcome.kind is OutcomeKind.REFUSED or is_test:
            row |= {"state": GIVEN_UP, "ended_at": at}
        if outcome.kind in (OutcomeKind.DELIVERED, OutcomeKind.REFUSED):
            lane |= {"failures": 0, "failing_since": None}
            return None
        if outcome.kind is OutcomeKind.GONE:
            if destination.state is DestinationState.ACTIVE:
                parking.append((destination, outcome.why))
            elif row["ended_at"] is None:
                row |= {"state": GIVEN_UP, "ended_at": at}
            return None
        if is_test:
            return None
        since = at if lane["failing_since"] is None else lane["failing_since"]
        lane |= {"failures": lane["failures"] + 1, "failing_since": since}
        found = next_of(lane["failures"], since, at, outcome.retry_after_ms, self._chance)
        row["next_attempt_at"] = found.at
        if found.is_parked and destination.state is DestinationState.ACTIVE:
            parking.append((destination, outcome.why))
            return None
        return found.at


def _locked(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Lanes by destination, locked in one order."""
    found = {}
    for some in pieces(ids):
        asked = select(LANE).where(LANE.c.destination_id.in_(some)).order_by(LANE.c.destination_id)
        for row in connection.execute(asked.with_for_update()).mappings():
            found[row["destination_id"]] = dict(row)
    return found


def _nexts(connection: Connection, lanes: Sequence[dict[str, Any]]) -> dict[str, int]:
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
        moments = [opened[one, form] for form in _ALLOWED[state] if (one, form) in opened]
        if state is DestinationState.ACTIVE and one in waiting:
            since = lane["grouping_since"]
            # What came while the lane was taken waits for what comes with it.
            is_grouped = since is not None and waiting[one] >= since
            moments.append(lane["due_at"] if is_grouped and lane["due_at"] != NEVER else waiting[one])
        found[one] = min(moments, default=NEVER)
    return found


def _messages(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for some in pieces(ids):
        for row in connection.execute(select(MESSAGE).where(MESSAGE.c.message_id.in_(some))).mappings():
            found[row["message_id"]] = dict(row)
    return found


def _contents(connection: Connection, messages: Sequence[dict[str, Any]]) -> dict[str, list[Held]]:
    """The notices of each message."""
    found: dict[str, list[Held]] = {}
    ids = [row["message_id"] for row in messages if row["notices"]]
    same = (NOTICE.c.tenant_id == DELIVERY.c.notice_tenant) & (NOTICE.c.notification_id == DELIVERY.c.notification_id)
    columns = (DELIVERY.c.message_id, NOTICE.c.severity, NOTICE.c.occurred_at, NOTICE.c.written_at, NOTICE.c.detail)
    for some in pieces(ids):
        held = (DELIVERY.c.message_id.in_(some), DELIVERY.c.state == PACKED)
        for message_id, *notice in connection.execute(select(*columns).join(NOTICE, same).where(*held)):
            found.setdefault(message_id, []).append(Held(*notice))
    return found


def _message(row: dict[str, Any], held: Sequence[Held], token: str) -> Message:
    records = tuple(record_of(notice.detail) for notice in shown(held))
    attempt, omitted = row["attempts"] + 1, len(held) - len(records)
    return Message(row["message_id"], Form(row["form"]), row["made_at"], records, attempt, token, omitted)


def _unanswered(connection: Connection, ids: Sequence[str], now: int) -> list[str]:
    """Those of some destinations whose question may not be answered any more."""
    late: list[str] = []
    for some in pieces(ids):
        waits = (DESTINATION.c.state == DestinationState.UNCONFIRMED, DESTINATION.c.challenge_until <= now)
        asked = select(DESTINATION.c.destination_id).where(DESTINATION.c.destination_id.in_(some), *waits)
        late += connection.execute(asked).scalars()
    return late


def _delivery(row: Any, **changes: Any) -> tuple[Any, ...]:
    """The row of a delivery with some columns changed."""
    return tuple(changes.get(column.name, getattr(row, column.name)) for column in DELIVERY.columns)


def _attempt_row(row: dict[str, Any], attempt: Attempt) -> tuple[Any, ...]:
    outcome = attempt.outcome
    return (
        row["tenant_id"],
        row["message_id"],
        attempt.message.attempt,
        attempt.at,
        attempt.ended_at,
        str(outcome.kind),
        outcome.code,
        outcome.why,
    )
