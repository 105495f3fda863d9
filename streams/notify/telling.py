"""Tells each change of the process once: in its status, and in the log."""

from __future__ import annotations

import logging
from typing import Final

from streams.database.database import reason_of
from streams.log_events import log_event
from streams.notices.model import Destination, DestinationKind
from streams.notify.recording import Unreadable
from streams.notify.status import CONTACTS, KAFKA, REGISTRY, State, Status

log = logging.getLogger(__name__)

MOST_LINES: Final = 100
"""In the log, about records that cannot be read; beyond that they are only counted, and named in the ledger."""
MOST_FAULTS: Final = 10
"""Reasons of a channel's faults in the log; beyond that they are only counted."""


class Teller:
    """Keeps a status, and logs what changes it."""

    def __init__(self, status: Status) -> None:
        """Keep a status."""
        self.status = status
        self._faults: dict[DestinationKind, set[str]] = {}

    def passed_over(self, one: Unreadable) -> None:
        """A record is passed over."""
        self.status.unreadable += 1
        if self.status.unreadable <= MOST_LINES:
            where = f"{one.place.topic}-{one.place.partition}@{one.offset}"
            about = log_event("notify_record_unreadable", where=where)
            log.warning("a record cannot be read and is passed over: %s: %.300s", where, one.reason, extra=about)

    def enter(self, state: State) -> None:
        """The intake does something else now."""
        if self.status.state is state:
            return
        self.status.state = state
        if state is State.STANDBY:
            self.status.stopped, self.status.lag = None, 0
            for part in (KAFKA, REGISTRY, CONTACTS):
                self.status.failures.pop(part, None)
            log.info("another process reads the topic; waiting", extra=log_event("notify_standby"))
        elif state is State.FOLLOWING:
            log.info("all notifications that were written are in the ledger", extra=log_event("notify_current"))

    def stop(self, why: str) -> None:
        """It stops until a person does something."""
        self.status.state = State.STOPPED
        if self.status.stopped != why:
            self.status.stopped = why
            log.error("stopped: %s", why, extra=log_event("notify_stopped", why=why))

    def failed(self, part: str, error: BaseException) -> None:
        """A part does not work."""
        self.status.errors[part] += 1
        why = reason_of(error)
        if self.status.failures.get(part) != why:
            log.warning("%s: %s", part, why, extra=log_event("notify_part_failed", part=part, why=why))
        self.status.failures[part] = why

    def works(self, part: str) -> None:
        """A part works, perhaps again."""
        if self.status.failures.pop(part, None) is not None:
            log.info("%s: works again", part, extra=log_event("notify_part_recovered", part=part))

    def away(self, kind: DestinationKind, why: str) -> None:
        """Nobody can be reached by a channel."""
        if kind not in self.status.away:
            about = log_event("notify_channel_away", kind=str(kind), why=why)
            log.warning("%s: nobody can be reached this way: %s", kind, why, extra=about)
        self.status.away[kind] = why

    def back(self, kind: DestinationKind) -> None:
        """A channel reaches somebody, perhaps again."""
        if self.status.away.pop(kind, None) is not None:
            log.info("%s: works again", kind, extra=log_event("notify_channel_back", kind=str(kind)))

    def at_fault(self, kind: DestinationKind, why: str, error: BaseException | None = None) -> None:
        """A channel failed by a fault of ours; each reason is told once, until something is delivered."""
        known = self._faults.setdefault(kind, set())
        if why in known or len(known) >= MOST_FAULTS:
            return
        known.add(why)
        about = log_event("notify_channel_failed", kind=str(kind), why=why)
        log.error("a channel is at fault: %s: %s", kind, why, exc_info=error, extra=about)

    def is_sound(self, kind: DestinationKind) -> None:
        """A channel delivered something."""
        self._faults.pop(kind, None)

    def given_up(self, destination: Destination, message_id: str, why: str) -> None:
        """A message is tried no more, and its notices with it."""
        about = log_event(
            "notify_message_given_up",
            tenant=destination.tenant_id,
            destination=destination.destination_id,
            message=message_id,
            why=why,
        )
        where = f"{destination.tenant_id}/{destination.destination_id}"
        log.error("a message is given up: %s: %s: %s", where, message_id, why, extra=about)

    def parked(self, destination: Destination, why: str) -> None:
        """A destination is sent nothing any more."""
        self.status.parkings += 1
        about = log_event(
            "notify_destination_parked",
            tenant=destination.tenant_id,
            destination=destination.destination_id,
            kind=str(destination.kind),
            why=why,
        )
        where = f"{destination.tenant_id}/{destination.destination_id}"
        log.warning("a destination is parked: %s (%s): %s", where, destination.kind, why, extra=about)

    def unwritten(self, destination: Destination, why: str) -> None:
        """What became of messages to a destination cannot be written; they are sent again under their ids."""
        about = log_event(
            "notify_result_unwritten",
            tenant=destination.tenant_id,
            destination=destination.destination_id,
            why=why,
        )
        log.error("a result cannot be written: %s: %s", destination.destination_id, why, extra=about)
