"""A channel that records what it is handed, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from streams.notices.model import Destination, Message, Outcome, OutcomeKind

DELIVERED = Outcome(OutcomeKind.DELIVERED, 200, "OK")
FAILED = Outcome(OutcomeKind.FAILED, 503, "try later")
REFUSED = Outcome(OutcomeKind.REFUSED, 400, "no such thing")
GONE = Outcome(OutcomeKind.GONE, 410, "gone")
AWAY = Outcome(OutcomeKind.CHANNEL_AWAY, None, "connection refused")


class Sent(NamedTuple):
    """What was handed to the channel."""

    destination: Destination
    message: Message

    @property
    def ids(self) -> list[str]:
        """The notices in it."""
        return [record["notification_id"] for record in self.message.notices]


class RecordingChannel:
    """See `streams.notices.model.Channel`."""

    def __init__(self, answer: Callable[[Destination, Message], Outcome] = lambda _, __: DELIVERED) -> None:
        """Answer by a function; what it raises is a fault of the channel."""
        self.answer = answer
        self.sent: list[Sent] = []
        self.stuck: set[str] = set()
        """Addresses that never answer."""

    async def send(self, destination: Destination, message: Message) -> Outcome:
        """Record it."""
        self.sent.append(Sent(destination, message))
        if destination.address in self.stuck:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return self.answer(destination, message)

    def to(self, address: str) -> list[Sent]:
        """What was handed on for an address."""
        return [one for one in self.sent if one.destination.address == address]
