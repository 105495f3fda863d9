"""Gives lanes back with what became of what was sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, func, select, update

from streams.database.upserts import Upsert, pieces
from streams.notices.destinations import GIVEN_UP, PACKED, SENT, confirm, park
from streams.notices.model import Destination, DestinationKind, DestinationState, Form, OutcomeKind
from streams.notices.tables import ATTEMPT, DELIVERY, LANE, MESSAGE, NEVER
from streams.notify.lane_times import find_nexts
from streams.notify.retrying import next_of, next_of_fault, next_of_refused
from streams.notify.runs import PASSES, Attempt, Finished, Run

_LANES: Final = Upsert(LANE)
_MESSAGES: Final = Upsert(MESSAGE)
_ATTEMPTS: Final = Upsert(ATTEMPT, keeps=True)


def lock_lanes(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Lanes by destination, locked in one order."""
    found = {}
    for some in pieces(ids):
        asked = select(LANE).where(LANE.c.destination_id.in_(some)).order_by(LANE.c.destination_id)
        for row in connection.execute(asked.with_for_update()).mappings():
            found[row["destination_id"]] = dict(row)
    return found


def write_runs(
    connection: Connection,
    mine: Sequence[tuple[Run, dict[str, Any]]],
    finished: Finished,
    now: int,
    chance: Callable[[], float],
) -> None:
    """Write what became of runs, each with the row of its lane, which is locked."""
    tried = {one.message.message_id: one for run, _ in mine for one in run.attempts}
    rows = _messages(connection, sorted(tried))
    lanes: list[tuple[dict[str, Any], bool]] = []
    ends: list[dict[str, Any]] = []
    refused_since = _refused_since(connection, list(tried.values()), rows)
    for run, lane in mine:
        lane |= {"lease_owner": None, "lease_until": 0}
        waits_until = run.waits_until
        for attempt in run.attempts:
            row = rows.get(attempt.message.message_id)
            if row is None or row["ended_at"] is not None:
                continue  # it was withdrawn while it was sent
            since = refused_since.get(attempt.message.message_id, attempt.at)
            until = _take_over(row, lane, attempt, since, finished, run.claim.destination, chance)
            waits_until = until or waits_until
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
    finished.parked = [one for one in finished.parked if park(connection, *one, now)]
    for destination in finished.confirmed:
        confirm(connection, destination.tenant_id, destination.destination_id, now)
    free = [lane for lane, is_waiting in lanes if not is_waiting]
    nexts = find_nexts(connection, free)
    for lane in free:
        lane["due_at"] = nexts[lane["destination_id"]]
    _LANES.write(connection, [tuple(lane.values()) for lane, _ in lanes])


def _take_over(
    row: dict[str, Any],
    lane: dict[str, Any],
    attempt: Attempt,
    refused_since: int,
    finished: Finished,
    destination: Destination,
    chance: Callable[[], float],
) -> int | None:
    """Change a message and its lane by an attempt; returns when the lane waits until, None if it does not."""
    outcome, at = attempt.outcome, attempt.ended_at
    row |= {"last_code": outcome.code, "last_outcome": str(outcome.kind), "last_why": outcome.why}
    if outcome.kind is OutcomeKind.CHANNEL_AWAY:
        return None
    row["attempts"] += 1
    is_test = row["form"] == Form.TEST
    if outcome.kind in PASSES:
        # Days in which we were at fault are none in which the destination failed.
        lane |= {"failures": 0, "failing_since": None}
    if outcome.kind is OutcomeKind.DELIVERED:
        row |= {"state": SENT, "ended_at": at}
        return None
    if is_test:
        row |= {"state": GIVEN_UP, "ended_at": at}
    if outcome.kind is OutcomeKind.GONE:
        if destination.state is DestinationState.ACTIVE:
            finished.parked.append((destination, outcome.why))
        elif row["ended_at"] is None:
            row |= {"state": GIVEN_UP, "ended_at": at}
    if is_test or outcome.kind is OutcomeKind.GONE:
        return None
    if outcome.kind in PASSES:
        again = (
            next_of_refused(row["attempts"], refused_since, at, chance)
            if outcome.kind is OutcomeKind.REFUSED
            else next_of_fault(row["attempts"], row["made_at"], at, chance)
        )
        if again is None:
            row |= {"state": GIVEN_UP, "ended_at": at}
            finished.given_up.append((destination, row["message_id"], outcome.why))
        else:
            row["next_attempt_at"] = again
        return None
    since = at if lane["failing_since"] is None else lane["failing_since"]
    lane |= {"failures": lane["failures"] + 1, "failing_since": since}
    found = next_of(lane["failures"], since, at, outcome.retry_after_ms, chance)
    row["next_attempt_at"] = found.at
    if found.is_parked and destination.state is DestinationState.ACTIVE:
        finished.parked.append((destination, outcome.why))
        return None
    return found.at


def _refused_since(
    connection: Connection, attempts: Sequence[Attempt], rows: dict[str, dict[str, Any]]
) -> dict[str, int]:
    """When each of some messages was refused first, before these attempts."""
    refused = [one.message.message_id for one in attempts if one.outcome.kind is OutcomeKind.REFUSED]
    found: dict[str, int] = {}
    for some in pieces(sorted(one for one in refused if one in rows)):
        here = (
            ATTEMPT.c.tenant_id.in_(sorted({rows[one]["tenant_id"] for one in some})),
            ATTEMPT.c.message_id.in_(some),
            ATTEMPT.c.outcome == OutcomeKind.REFUSED,
        )
        asked = select(ATTEMPT.c.message_id, func.min(ATTEMPT.c.at)).where(*here).group_by(ATTEMPT.c.message_id)
        found |= {row[0]: row[1] for row in connection.execute(asked)}
    return found


def _messages(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for some in pieces(ids):
        for row in connection.execute(select(MESSAGE).where(MESSAGE.c.message_id.in_(some))).mappings():
            found[row["message_id"]] = dict(row)
    return found


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
