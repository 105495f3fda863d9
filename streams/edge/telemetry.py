"""What the door reports of itself: hands it to metrics and log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from streams.domain.edge import Decision, Trust
from streams.edge.door_metrics import HTTP, MILTER, DoorMetrics, DoorStatus
from streams.edge.failures import FailureLog
from streams.log_events import log_event

log = logging.getLogger(__name__)

LOST_LOG_SECONDS: Final = 10.0
"""Between two lines of the log about lost events."""
_PROTOCOL: Final = "protocol"


class DoorTelemetry:
    """See `ports.DoorTelemetry`; `of_milter` and `of_http` count what the servers report."""

    def __init__(
        self, version: str, status: Callable[[], DoorStatus], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Report a door.

        Args:
            version: of the product.
            status: returns the door's present status.
            clock: returns seconds.
        """
        self.metrics = DoorMetrics(version, status)
        self.failures = FailureLog(clock)
        self.of_milter, self.of_http = MilterCounts(self), HttpCounts(self)
        self._clock = clock
        self._lost, self._logged_at = 0, float("-inf")
        self._trust: Trust | None = None

    def answered(self, moment: str, decision: Decision, seconds: float) -> None:
        """See `ports.DoorTelemetry`."""
        self.metrics.decisions.add(moment, decision, seconds)

    def unmatched(self) -> None:
        """See `ports.DoorTelemetry`."""
        self.metrics.unmatched.inc()

    def event_lost(self, tenant_id: str, event_id: str) -> None:
        """See `ports.DoorTelemetry`."""
        self.metrics.lost.inc()
        self._lost += 1
        if self._clock() - self._logged_at < LOST_LOG_SECONDS:
            return
        about = log_event("event_lost", count=self._lost, tenant_id=tenant_id, event_id=event_id)
        log.error("events could not be stored and are lost: %d, the last one %s", self._lost, event_id, extra=about)
        self._lost, self._logged_at = 0, self._clock()

    def failed(self, where: str, error: Exception) -> None:
        """See `ports.DoorTelemetry`."""
        self.metrics.failures.labels(where).inc()
        self.failures.add(where, error)

    def trust_seen(self, trust: Trust) -> None:
        """Log how far verdicts are acted on now, if that changed."""
        if trust is self._trust:
            return
        self._trust = trust
        level = logging.INFO if trust is Trust.CURRENT else logging.WARNING
        log.log(level, "verdicts are %s: %s", trust.value, _MEANING[trust], extra=log_event("door_trust", trust=trust))


_MEANING: Final = {
    Trust.CURRENT: "they are acted on",
    Trust.AGED: "nothing has confirmed them for long, so mail is delayed where it would be refused",
    Trust.STALE: "nothing has confirmed them for too long, so all mail is accepted",
    Trust.EMPTY: "they were not read completely yet, so all mail is accepted",
    Trust.CLOCK: "the clock of this host is wrong, so all mail is accepted",
}


class _Counts:
    """See `listening.ConnectionTelemetry`."""

    door = ""

    def __init__(self, telemetry: DoorTelemetry) -> None:
        self._telemetry, self._metrics = telemetry, telemetry.metrics

    def opened(self) -> None:
        """See `ConnectionTelemetry`."""
        self._metrics.opened.labels(self.door).inc()
        self._metrics.open.labels(self.door).inc()

    def closed(self) -> None:
        """See `ConnectionTelemetry`."""
        self._metrics.open.labels(self.door).dec()

    def turned_away(self) -> None:
        """See `ConnectionTelemetry`."""
        self._metrics.turned_away.labels(self.door).inc()

    def failed(self, where: str, error: Exception) -> None:
        """See `ConnectionTelemetry`."""
        self._telemetry.failed(f"{self.door} {where}", error)


class MilterCounts(_Counts):
    """See `milter.telemetry.MilterTelemetry`."""

    door = MILTER

    def protocol_error(self, reason: str) -> None:
        """See `MilterTelemetry`."""
        self._metrics.refused.labels(self.door, _PROTOCOL).inc()
        log.debug("a milter connection broke the protocol: %s", reason)

    def unattributed(self, reason: str) -> None:
        """See `MilterTelemetry`."""
        self._metrics.unattributed.inc()
        log.debug("a client cannot be told: %s", reason)


class HttpCounts(_Counts):
    """See `http.telemetry.HttpTelemetry`."""

    door = HTTP

    def refused(self, status: int) -> None:
        """See `HttpTelemetry`."""
        self._metrics.refused.labels(self.door, str(int(status))).inc()
