"""Tells each change of the reader once: in its status, and in the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from streams.database.database import reason_of
from streams.kafka.places import Place
from streams.log_events import log_event
from streams.report.reading.status import KAFKA, REGISTRY, State, Status

log = logging.getLogger(__name__)

MOST_LINES: Final = 100
"""In the log, about records that cannot be read; beyond that they are only counted, and named in the database."""


class Teller:
    """Keeps a status, and logs what changes it."""

    def __init__(self, status: Status, names: Mapping[str, str]) -> None:
        """Keep a status; `names` are those of schemas by whole names of topics."""
        self.status, self._names = status, names

    def passed_over(self, place: Place, offset: int, reason: str) -> None:
        """A record is passed over."""
        name = self._names[place.topic]
        self.status.unreadable[name] += 1
        if sum(self.status.unreadable.values()) <= MOST_LINES:
            where = f"{place.topic}-{place.partition}@{offset}"
            about = log_event("report_record_unreadable", where=where)
            log.warning("a record cannot be read and is passed over: %s: %.300s", where, reason, extra=about)

    def enter(self, state: State) -> None:
        """It does something else now."""
        if self.status.state is state:
            return
        self.status.state = state
        if state is State.STANDBY:
            self.status.stopped = self.status.mends = None
            # What held for its own reading: it asks Kafka and the registry for nothing any more.
            for part in (KAFKA, REGISTRY):
                self.status.failures.pop(part, None)
            self.status.lag = {}
            log.info("another process writes the tables; waiting", extra=log_event("report_standby"))

    def stop(self, why: str) -> None:
        """It stops until a person does something."""
        self.status.state = State.STOPPED
        if self.status.stopped != why:
            self.status.stopped = why
            log.error("stopped: %s", why, extra=log_event("report_stopped", why=why))

    def failed(self, part: str, error: Exception) -> None:
        """A part does not work."""
        self.status.errors[part] += 1
        why = reason_of(error)
        if self.status.failures.get(part) != why:
            log.warning("%s: %s", part, why, extra=log_event("report_part_failed", part=part, why=why))
        self.status.failures[part] = why

    def works(self, part: str) -> None:
        """A part works, perhaps again."""
        if self.status.failures.pop(part, None) is not None:
            log.info("%s: works again", part, extra=log_event("report_part_recovered", part=part))
