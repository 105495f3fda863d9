"""Takes lanes that are due, with what is to be sent there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, case, func, select

from streams.database.upserts import Upsert, pieces
from streams.notices.destinations import (
    EXPIRED,
    GIVEN_UP,
    OPEN,
    PACKED,
    WAITING,
    confirmation_token,
    find_destinations,
    make_message_id,
    unsubscribe_token,
)
from streams.notices.facts import link_key
from streams.notices.model import Destination, DestinationKind, DestinationState, Form, Message
from streams.notices.tables import DELIVERY, DESTINATION, LANE, MESSAGE, NOTICE
from streams.notify.contents import Contents, find_contents
from streams.notify.lane_times import find_nexts
from streams.notify.notice import record_of
from streams.notify.packing import Waiting, pack, shown
from streams.notify.quiet import QuietHours
from streams.notify.routing import OLDEST_MS
from streams.notify.runs import ALLOWED, LEASE_MS, Claim

MOST_MESSAGES: Final = 100
"""Of a lane that are taken at once; no more are read than may be sent before its lease ends."""
MOST_DUE: Final = 1_000
"""Notices of a lane that are looked at in one claim."""
_ASKED: Final = (Form.TEST, Form.CONFIRMATION)
_NO_FAILURE: Final = {"failures": 0, "failing_since": None}
_LANES: Final = Upsert(LANE)
_MESSAGES: Final = Upsert(MESSAGE)
_DELIVERIES: Final = Upsert(DELIVERY)


def take_lanes(
    connection: Connection,
    kinds: Collection[DestinationKind],
    limit: int,
    now: int,
    owner: str,
    *,
    is_failing: bool,
) -> list[dict[str, Any]]:
    """Take lanes that are due for a while, those that wait longest first; returns their rows."""
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
            "lease_owner": owner,
            "lease_until": now + LEASE_MS,
            "fence": row["fence"] + 1,
        }
        taken.append(dict(row) | changes)
    _LANES.write(connection, sorted(tuple(lane.values()) for lane in taken))
    return taken


def pack_claims(connection: Connection, lanes: Sequence[dict[str, Any]], now: int, group_above: int) -> list[Claim]:
    """Pack what is to be sent to lanes that were taken, and write that; lanes with nothing are given back at once."""
    destinations = find_destinations(connection, [lane["destination_id"] for lane in lanes])
    quiet = QuietHours(connection, destinations, now)
    messages = _open_messages(connection, destinations, now)
    held = _hold_back(connection, messages, quiet)
    may_pack = [
        one
        for one in (lane["destination_id"] for lane in lanes if not lane["failures"])
        if destinations[one].state is DestinationState.ACTIVE and len(messages.get(one, ())) < MOST_MESSAGES
    ]
    for row in _new_messages(connection, may_pack, now, group_above, quiet):
        messages.setdefault(row["destination_id"], []).append(row)
    chosen = {lane["destination_id"]: _chosen(lane, messages.get(lane["destination_id"], [])) for lane in lanes}
    contents = find_contents(connection, [row for rows in chosen.values() for row in rows])
    key, claims, idle = link_key(connection), [], []
    for lane in lanes:
        destination = destinations[lane["destination_id"]]
        rows = chosen[destination.destination_id]
        if not rows:
            free = {"lease_owner": None, "lease_until": 0}
            # One that failed and is only kept back has failed all the same.
            idle.append(lane | free | ({} if destination.destination_id in held else _NO_FAILURE))
            continue
        token = unsubscribe_token(key, destination)
        if destination.state is DestinationState.UNCONFIRMED:
            token = confirmation_token(connection, destination)
        made = tuple(_message(row, contents[row["message_id"]], token) for row in rows)
        came_at = {row["message_id"]: tuple(contents[row["message_id"]].written_at) for row in rows}
        lease = (lane["fence"], lane["lease_until"], lane["failures"], lane["failing_since"])
        claims.append(Claim(destination, *lease, made, came_at))
    nexts = find_nexts(connection, idle)
    for lane in idle:
        lane["due_at"] = nexts[lane["destination_id"]]
    _LANES.write(connection, sorted(tuple(lane.values()) for lane in idle))
    return claims


def _chosen(lane: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Those of a lane's messages that are sent now: of one that failed only the first, and what a person asked for."""
    if lane["failures"]:
        asked_for = [row for row in rows if row["form"] == Form.TEST]
        return asked_for + [row for row in rows if row["form"] != Form.TEST][:1]
    return rows[:MOST_MESSAGES]


def _open_messages(
    connection: Connection, destinations: Mapping[str, Destination], now: int
) -> dict[str, list[dict[str, Any]]]:
    """Messages that were made before, not delivered, and are due, by destination: what people asked for first."""
    is_asked = MESSAGE.c.form.in_(_ASKED)
    # Ids are in the order in which messages were made.
    rank = func.row_number().over(
        partition_by=MESSAGE.c.destination_id, order_by=(case((is_asked, 0), else_=1), MESSAGE.c.message_id)
    )
    found: dict[str, list[dict[str, Any]]] = {}
    late: list[dict[str, Any]] = []
    for some in pieces(sorted(destinations)):
        opened = (MESSAGE.c.destination_id.in_(some), MESSAGE.c.ended_at.is_(None))
        is_due = is_asked | (MESSAGE.c.next_attempt_at <= now)
        ranked = select(MESSAGE, rank.label("place")).where(*opened, is_due).subquery()
        columns = [ranked.c[column.name] for column in MESSAGE.columns]
        asked = select(*columns).where(ranked.c.place <= MOST_MESSAGES).order_by(ranked.c.place)
        for row in connection.execute(asked).mappings():
            destination = destinations[row["destination_id"]]
            if row["form"] in ALLOWED[destination.state]:
                found.setdefault(destination.destination_id, []).append(dict(row))
            elif destination.state is not DestinationState.PARKED:
                late.append(dict(row) | {"state": GIVEN_UP, "ended_at": now, "last_why": str(destination.state)})
    if any(row["form"] == Form.CONFIRMATION for rows in found.values() for row in rows):
        for destination_id in _unanswered(connection, list(found), now):
            gone = [row for row in found.pop(destination_id) if row["form"] == Form.CONFIRMATION]
            late += [row | {"state": GIVEN_UP, "ended_at": now, "last_why": "not confirmed in time"} for row in gone]
    _MESSAGES.write(connection, (tuple(row.values()) for row in late))
    return {one: [row for row in rows if row["next_attempt_at"] <= now] for one, rows in found.items()}


def _hold_back(connection: Connection, messages: dict[str, list[dict[str, Any]]], quiet: QuietHours) -> set[str]:
    """Take out what would come amid quiet hours, and write when it goes; returns the destinations that have such."""
    told = {
        row["message_id"]: row
        for destination_id, rows in messages.items()
        if quiet.are_at(destination_id)
        for row in rows
        if row["form"] not in _ASKED
    }
    ends: dict[str, list[int | None]] = {}
    columns = (DELIVERY.c.message_id, DELIVERY.c.destination_id, DELIVERY.c.subscription_id, DELIVERY.c.severity)
    for some in pieces(sorted(told)):
        packed = (DELIVERY.c.message_id.in_(some), DELIVERY.c.state == PACKED)
        for message_id, *about in connection.execute(select(*columns).where(*packed)):
            ends.setdefault(message_id, []).append(quiet.end(*about))
    held = {one: [end for end in of_message if end is not None] for one, of_message in ends.items() if all(of_message)}
    for message_id, of_message in held.items():
        told[message_id]["next_attempt_at"] = min(of_message)
    _MESSAGES.write(connection, (tuple(told[one].values()) for one in sorted(held)))
    for destination_id, rows in messages.items():
        messages[destination_id] = [row for row in rows if row["message_id"] not in held]
    return {told[one]["destination_id"] for one in held}


def _new_messages(
    connection: Connection, ids: Sequence[str], now: int, group_above: int, quiet: QuietHours
) -> list[dict[str, Any]]:
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
        same = (NOTICE.c.tenant_id == ranked.c.notice_tenant) & (NOTICE.c.notification_id == ranked.c.notification_id)
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
            elif (end := quiet.end(destination_id, row.subscription_id, row.severity)) is not None:
                changed.append(_delivery(row, due_at=end, is_together=1))
            else:
                due.append(Waiting(row.notification_id, row.severity, row.occurred_at, bool(row.is_together)))
        for packed in pack(due, group_above):
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
                _delivery(by_id[one], state=PACKED, message_id=message["message_id"]) for one in packed.notification_ids
            ]
    _MESSAGES.write(connection, (tuple(row.values()) for row in made))
    _DELIVERIES.write(connection, changed)
    return made


def _message(row: dict[str, Any], contents: Contents, token: str) -> Message:
    records = tuple(record_of(notice.detail) for notice in shown(contents.held))
    attempt, omitted = row["attempts"] + 1, len(contents.written_at) - len(records)
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
