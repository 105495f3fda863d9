"""The service in one process and without Kafka: the same pure core, a dict for its state."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from streams.domain.connection import InboundConnection, MalformedError
from streams.domain.enforcement import Decision, Forgotten, Sighting, decide, sight
from streams.domain.notification import AdminNotification
from streams.domain.report import ServerReport
from streams.domain.rules import Rulebook
from streams.domain.state import ServerEnforcement
from streams.domain.verdict import Verdict


@dataclass(slots=True)
class Results:
    """Everything that was emitted, in the order of processing; `servers` holds the last row of each server."""

    verdicts: list[Verdict] = field(default_factory=list)
    notifications: list[AdminNotification] = field(default_factory=list)
    servers: dict[tuple[str, str], ServerReport] = field(default_factory=dict)


class Simulation:
    """Feeds connections to `decide` one after the other."""

    def __init__(self, rulebook: Rulebook) -> None:
        self.rulebook = rulebook
        self.results = Results()
        self.states: dict[tuple[str, str], ServerEnforcement] = {}
        self.stream_time = 0
        self._revisions: dict[tuple[str, str], int] = {}
        self._due: list[tuple[int, tuple[str, str]]] = []
        self._due_of: dict[tuple[str, str], int] = {}

    def feed(self, connection: InboundConnection) -> None:
        """Process one valid connection."""
        event = sight(connection)
        key = (connection.tenant_id, event.server)
        self.stream_time = max(self.stream_time, connection.observed_at)
        self._take(key, self._decide(key, event, connection.observed_at))

    def advance(self, until: int) -> None:
        """Move every clock to `until` (UTC milliseconds); timers fire in due order."""
        while self._due and self._due[0][0] <= until:
            due, key = heapq.heappop(self._due)
            if self._due_of.get(key) == due:
                self._take(key, self._decide(key, None, due))

    def _decide(self, key: tuple[str, str], event: Sighting | None, now: int) -> Decision:
        return decide(self.states.get(key), event, self.rulebook, now, self._revisions.get(key, 0))

    def _take(self, key: tuple[str, str], decision: Decision) -> None:
        for emitted in decision.emitted:
            match emitted:
                case Verdict():
                    self.results.verdicts.append(emitted)
                case AdminNotification():
                    self.results.notifications.append(emitted)
                case ServerReport():
                    self.results.servers[key] = emitted
                case Forgotten():
                    self.results.servers.pop(key, None)
                    self._revisions[key] = emitted.revision
        if decision.state is None:
            self.states.pop(key, None)
            self._due_of.pop(key, None)
            return
        self.states[key] = decision.state
        if decision.due_at is not None and decision.due_at != self._due_of.get(key):
            self._due_of[key] = decision.due_at
            heapq.heappush(self._due, (decision.due_at, key))


def simulate(
    records: Iterable[Callable[[], InboundConnection]],
    rulebook: Rulebook,
    until: int | None,
    on_malformed: Callable[[MalformedError], None],
) -> Results:
    """Run a feed through the core; `until` (UTC milliseconds, the last event by default) ends every clock."""
    simulation = Simulation(rulebook)
    for read in records:
        try:
            connection = read()
        except MalformedError as error:
            on_malformed(error)
        else:
            simulation.feed(connection)
    simulation.advance(max(until or 0, simulation.stream_time))
    return simulation.results
