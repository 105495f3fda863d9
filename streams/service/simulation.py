"""The service in one process and without Kafka: the same pure core, dicts for its state."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.domain.edge import Decision, Trust, decide_message, edge_verdict_of
from streams.domain.exchange.detection import detect
from streams.domain.keys import ServerKey
from streams.domain.outputs.notification import AdminNotification
from streams.domain.outputs.server_report import ServerReport
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.server.decide import Forgotten
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.audit import AuditRecord
from streams.domain.tenant.commands import AdminCommand
from streams.domain.tenant.state import TenantEnforcement
from streams.domain.validation import MalformedError
from streams.service.effects import TENANT, Effects, KeptServer, TenantChange
from streams.service.enforcer import Enforcer


class EdgeDecision(NamedTuple):
    """What an edge that knew every verdict at once would have done with a connection; `verdict` is what it knew."""

    connection: InboundConnection
    key: ServerKey
    verdict: Verdict | None
    decision: Decision


@dataclass(slots=True)
class Results:
    """Everything that was emitted, in the order of processing; `servers` holds the last row of each server."""

    verdicts: list[Verdict] = field(default_factory=list)
    notifications: list[AdminNotification] = field(default_factory=list)
    servers: dict[ServerKey, ServerReport] = field(default_factory=dict)
    audit: list[AuditRecord] = field(default_factory=list)


class Simulation:
    """Feeds connections and commands to the core one after the other; its own repository."""

    def __init__(self, rulebook: Rulebook, on_decision: Callable[[EdgeDecision], None] | None = None) -> None:
        """Simulate under `rulebook`; `on_decision` takes what an edge would do with each connection."""
        self.results = Results()
        self._on_decision = on_decision
        self._verdicts: dict[ServerKey, Verdict] = {}
        self.states: dict[ServerKey, ServerEnforcement] = {}
        self.tenants: dict[str, TenantEnforcement] = {}
        self.stream_time = 0
        self._enforcer = Enforcer(self, rulebook)
        self._revisions: dict[ServerKey, int] = {}
        self._servers: dict[str, set[str]] = {}
        self._put_off: TenantChange | None = None
        self._due: list[tuple[int, ServerKey]] = []
        self._due_of: dict[ServerKey, int] = {}

    def feed(self, connection: InboundConnection) -> None:
        """Process one valid connection."""
        self.stream_time = max(self.stream_time, connection.observed_at)
        if self._on_decision is not None:
            self._on_decision(self._decide(connection))
        self._apply(self._enforcer.connection(connection))

    def _decide(self, connection: InboundConnection) -> EdgeDecision:
        """As an edge does: before the service hears of the connection."""
        found = detect(connection.received, connection.helo, connection.source_ip)
        key = ServerKey(connection.tenant_id, found.server)
        verdict = self._verdicts.get(key)
        known = None if verdict is None else edge_verdict_of(verdict)
        return EdgeDecision(
            connection, key, verdict, decide_message(found, known, Trust.CURRENT, connection.observed_at)
        )

    def command(self, command: AdminCommand) -> None:
        """Process one valid command."""
        self.stream_time = max(self.stream_time, command.issued_at)
        effects = self._enforcer.command(command)
        self._apply(effects)
        if effects.put_off is not None:
            self._put_off = effects.put_off[1]
            for server in self.servers_of(command.tenant_id):
                self._apply(self._enforcer.catch_up(ServerKey(command.tenant_id, server)))
            self._put_off = None

    def advance(self, until: int) -> None:
        """Move every clock to `until` (UTC milliseconds); timers fire in due order."""
        while self._due and self._due[0][0] <= until:
            due, key = heapq.heappop(self._due)
            if self._due_of.get(key) == due:
                self._apply(self._enforcer.tick(key, due))

    def _apply(self, effects: Effects) -> None:
        for record in effects.outputs:
            self.emit(record)
        for kept in effects.kept:
            if isinstance(kept, KeptServer):
                self.keep_server(kept.key, kept.state, kept.due_at)
            else:
                self.keep_tenant(kept.tenant, kept.due_at)

    # --- repository ---

    def server(self, key: ServerKey) -> ServerEnforcement | None:
        """See `Repository`."""
        return self.states.get(key)

    def forgotten_revision(self, key: ServerKey) -> int:
        """See `Repository`."""
        return self._revisions.get(key, 0)

    def servers_of(self, tenant_id: str) -> Iterable[str]:
        """See `Repository`."""
        return sorted(self._servers.get(tenant_id, ()))

    def put_off_of(self, key: ServerKey) -> Sequence[TenantChange]:
        """See `Repository`."""
        return () if self._put_off is None else (self._put_off,)

    def tenant(self, tenant_id: str) -> TenantEnforcement | None:
        """See `Repository`."""
        return self.tenants.get(tenant_id)

    # --- effects ---

    def keep_server(self, key: ServerKey, state: ServerEnforcement | None, due_at: int | None) -> None:
        """Keep a state and its next due moment; None forgets it."""
        if state is None:
            self.states.pop(key, None)
            self._servers.get(key.tenant_id, set()).discard(key.server)
        else:
            self.states[key] = state
            self._servers.setdefault(key.tenant_id, set()).add(key.server)
        self._index(key, due_at)

    def keep_tenant(self, tenant: TenantEnforcement, due_at: int | None) -> None:
        """Keep a tenant's state and its next due moment."""
        self.tenants[tenant.tenant_id] = tenant
        self._index(ServerKey(tenant.tenant_id, TENANT), due_at)

    def emit(self, emitted: Verdict | AdminNotification | ServerReport | Forgotten | AuditRecord) -> None:
        """Take a record that is written."""
        match emitted:
            case Verdict():
                self.results.verdicts.append(emitted)
                self._verdicts[emitted.key] = emitted
            case AdminNotification():
                self.results.notifications.append(emitted)
            case ServerReport():
                self.results.servers[emitted.key] = emitted
            case AuditRecord():
                self.results.audit.append(emitted)
            case Forgotten():
                self.results.servers.pop(emitted.key, None)
                self._verdicts.pop(emitted.key, None)
                self._revisions[emitted.key] = emitted.revision

    def _index(self, key: ServerKey, due_at: int | None) -> None:
        if due_at is None:
            self._due_of.pop(key, None)
        elif due_at != self._due_of.get(key):
            self._due_of[key] = due_at
            heapq.heappush(self._due, (due_at, key))


def simulate(
    connections: Iterable[Callable[[], InboundConnection]],
    rulebook: Rulebook,
    until: int | None,
    on_malformed: Callable[[MalformedError], None],
    commands: Iterable[AdminCommand] = (),
    partition_of: Callable[[str], int] = lambda _: 0,
    until_of: Callable[[], int | None] = lambda: None,
    on_decision: Callable[[EdgeDecision], None] | None = None,
) -> Results:
    """Run a feed through the core; `until` (UTC milliseconds, the last record by default) ends every clock.

    Where `until` is None, `until_of` is asked for it once the feed is read. `on_decision` takes what an edge would do
    with each connection.

    Commands and connections are merged as a worker does it: per partition, a command before the first connection
    that is not older.
    """
    simulation = Simulation(rulebook, on_decision)
    waiting: dict[int, deque[AdminCommand]] = {}
    for command in commands:
        waiting.setdefault(partition_of(command.tenant_id), deque()).append(command)
    for read in connections:
        try:
            connection = read()
        except MalformedError as error:
            on_malformed(error)
            continue
        queue = waiting.get(partition_of(connection.tenant_id)) if waiting else None
        while queue and queue[0].issued_at <= connection.observed_at:
            simulation.command(queue.popleft())
        simulation.feed(connection)
    for queue in waiting.values():
        for command in queue:
            simulation.command(command)
    end = until_of() if until is None else until
    simulation.advance(simulation.stream_time if end is None else end)
    return simulation.results
