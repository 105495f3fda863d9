"""What is taken of lanes, what is done with it, and what becomes of that."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.domain.time import SECOND_MS
from streams.notices.model import Destination, DestinationState, Form, Message, Outcome, OutcomeKind

LEASE_MS: Final = 60 * SECOND_MS
"""So long nobody else takes a lane."""
ALLOWED: Final[Mapping[DestinationState, Collection[str]]] = {
    DestinationState.ACTIVE: (Form.SINGLE, Form.DIGEST, Form.TEST),
    DestinationState.PARKED: (Form.TEST,),
    DestinationState.UNCONFIRMED: (Form.CONFIRMATION,),
    DestinationState.REMOVED: (),
}
"""What a destination is sent, by its state."""


PASSES: Final = (OutcomeKind.DELIVERED, OutcomeKind.REFUSED, OutcomeKind.FAULT)
"""Behind these the next message of a lane is sent: what they say is of one message alone."""


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
    """What was done with a lane; behind an attempt that does not pass there is no other.

    `waits_until` is when its channel may be back, where that is away.
    """

    claim: Claim
    attempts: tuple[Attempt, ...]
    waits_until: int | None = None


@dataclass(slots=True)
class Finished:
    """What became of runs: refused ones, destinations that were parked with the reason, and confirmed ones.

    `given_up` are messages that are tried no more, each with its destination and the reason. `unwritten` are runs that
    the ledger does not take whatever is left out, with the reason. Their lanes come free when their leases end, and
    what was sent is sent again under its id.
    """

    refused: list[Run] = field(default_factory=list)
    parked: list[tuple[Destination, str]] = field(default_factory=list)
    confirmed: list[Destination] = field(default_factory=list)
    given_up: list[tuple[Destination, str, str]] = field(default_factory=list)
    unwritten: list[tuple[Run, str]] = field(default_factory=list)

    def add(self, other: Finished) -> None:
        """Take over what became of other runs."""
        self.refused += other.refused
        self.parked += other.parked
        self.confirmed += other.confirmed
        self.given_up += other.given_up
        self.unwritten += other.unwritten
