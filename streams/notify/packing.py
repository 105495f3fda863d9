"""What of a destination's notices goes together: each alone, or all in one digest. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.domain.outputs.notification import Severity
from streams.notices.model import Form
from streams.notices.tables import NEVER

MOST_SHOWN: Final = 200
"""Notices that a digest holds; how many more there are it says."""
IDLE_WAIT_MS: Final = 200
"""So long a notice waits for others that came of the same cause."""
BUSY_WAIT_MS: Final = 3_000
"""Likewise while more come, or while the topic is not read to its end."""
LONGEST_WAIT_MS: Final = 60_000
"""What goes as a digest anyway waits no longer for more."""
RANKS: Final = {str(severity): rank for rank, severity in enumerate(Severity)}


class Waiting(NamedTuple):
    """A notice that is due at a destination; `order` tells which came first."""

    notification_id: str
    severity: str
    occurred_at: int
    is_together: bool


class Held(NamedTuple):
    """A notice of a message: how urgent it is, when it happened, and its record as JSON."""

    severity: str
    occurred_at: int
    detail: str


class Packed(NamedTuple):
    """A message to be, and what it stands for, the oldest first."""

    form: Form
    notification_ids: tuple[str, ...]


class Grouping(NamedTuple):
    """When a lane is looked at; see `tables.LANE`."""

    due_at: int
    since: int | None
    came: int


def pack(due: Sequence[Waiting], group_above: int) -> list[Packed]:
    """Put what is due at a destination into messages, the oldest first.

    Args:
        due: what is due.
        group_above: more than these go as one digest.
    """
    ordered = sorted(due, key=lambda one: (one.occurred_at, one.notification_id))
    ids = tuple(one.notification_id for one in ordered)
    if len(ids) < 2 or not (len(ids) > group_above or any(one.is_together for one in ordered)):
        return [Packed(Form.SINGLE, (one,)) for one in ids]
    return [Packed(Form.DIGEST, ids)]


def shown(held: Sequence[Held]) -> list[Held]:
    """Those of a message's notices that it shows, the oldest first: where they are too many, the most urgent ones."""
    urgent = sorted(held, key=lambda one: (-RANKS.get(one.severity, 0), one.occurred_at))[:MOST_SHOWN]
    return sorted(urgent, key=lambda one: one.occurred_at)


def grouped(lane: Grouping, came: int, later: int | None, now: int, group_above: int, *, is_behind: bool) -> Grouping:
    """When to look at a lane to which notices have come.

    So that many of one cause are told as one, what goes at once waits for a moment, and longer while more come.

    Args:
        lane: as it is.
        came: how many came that go at once.
        later: when the first goes of those that came and go later; None where there is none.
        now: the moment.
        group_above: more than these go as one digest.
        is_behind: whether more may come that are written already.
    """
    due_at, since, count = lane
    if came:
        is_first = since is None
        since, count = (now, came) if since is None else (since, count + came)
        is_many = count > group_above
        wait = BUSY_WAIT_MS if is_behind or is_many or not is_first else IDLE_WAIT_MS
        at = min(now + wait, since + (LONGEST_WAIT_MS if is_many else BUSY_WAIT_MS))
        due_at = min(due_at, at) if is_first else at
    return Grouping(min(due_at, NEVER if later is None else later), since, count)
