"""Connections, commands and clock ticks on many servers, whatever keeps their states.

Before a command of time `t` every timer of the servers that it touches, due at or before `t`, fires.

What a tenant-wide command changes for its servers may be put off: the tenant's own state changes at once, and each
server is caught up before anything else happens to it. So it has the same history whenever its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from streams.domain.outputs.notification import AdminNotification
from streams.domain.outputs.server_report import ServerReport
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.ladder import ClockStop
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.server.decide import Decision, Emitted, Forgotten, decide
from streams.domain.server.override import Change
from streams.domain.server.sighting import detect_server
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.apply import advance_tenant, apply_command
from streams.domain.tenant.audit import AuditRecord
from streams.domain.tenant.commands import AdminCommand, subject_of
from streams.domain.tenant.reminders import tenant_timers
from streams.domain.tenant.settling import forget_server
from streams.domain.tenant.state import TenantEnforcement
from streams.domain.tenant.waivers import NO_WAIVERS, Waivers

TENANT = ""
"""Stands for the tenant itself where a due moment names a server."""


class TenantChange(NamedTuple):
    """What a tenant-wide command changes at `at` (UTC milliseconds) for each server that the tenant has by then.

    `before` and `after` are the spans of the tenant's pauses. `own` has what covers a server beside them, before and
    after, of those servers where the command changes that too.
    """

    at: int
    before: tuple[ClockStop, ...]
    after: tuple[ClockStop, ...]
    own: Mapping[str, tuple[Waivers, Waivers]]


def change_of(before: TenantEnforcement, after: TenantEnforcement, at: int) -> TenantChange:
    """What is different for servers when a command at `at` made one tenant's state the other."""
    mine, others = replace(before, pauses=()), replace(after, pauses=())
    servers = {*before.server_pauses, *after.server_pauses, *before.exceptions, *after.exceptions}
    waivers_by_server = {server: (mine.waivers_of(server), others.waivers_of(server)) for server in sorted(servers)}
    own = {server: pair for server, pair in waivers_by_server.items() if pair[0] != pair[1]}
    spans = [tuple(pause.span for pause in tenant.pauses) for tenant in (before, after)]
    return TenantChange(at, spans[0], spans[1], own)


def _cover(spans: Sequence[ClockStop], own: Waivers) -> Waivers:
    return Waivers((*spans, *own.pauses), own.exceptions)


class Repository(Protocol):
    """Keeps states and takes what is emitted."""

    def server(self, tenant_id: str, server: str) -> ServerEnforcement | None:
        """The state of a server."""

    def keep_server(self, tenant_id: str, server: str, state: ServerEnforcement | None, due_at: int | None) -> None:
        """Keep a state and its next due moment; None forgets it."""

    def forgotten_revision(self, tenant_id: str, server: str) -> int:
        """The last verdict revision of a server that was forgotten, 0 for one that never was."""

    def servers_of(self, tenant_id: str) -> Iterable[str]:
        """The servers of a tenant, in order of their names."""

    def put_off(self, tenant_id: str, change: TenantChange) -> None:
        """Let every server of the tenant that is known now be caught up with a change some time."""

    def put_off_of(self, tenant_id: str, server: str) -> Sequence[TenantChange]:
        """The changes that a server has not had yet, the oldest first; keeping its state says that it has had them."""

    def tenant(self, tenant_id: str) -> TenantEnforcement | None:
        """The state of a tenant, None without any command."""

    def keep_tenant(self, tenant: TenantEnforcement, due_at: int | None) -> None:
        """Keep a tenant's state and its next due moment."""

    def emit(self, emitted: Verdict | AdminNotification | ServerReport | Forgotten | AuditRecord) -> None:
        """Take a record to write."""


class Enforcer:
    """Applies what happens to the states in a repository."""

    def __init__(self, repository: Repository, rulebook: Rulebook) -> None:
        """Apply to the states in `repository`."""
        self._repository, self._rulebook = repository, rulebook

    def connection(self, connection: InboundConnection) -> None:
        """Take a connection into account."""
        event, tenant_id = detect_server(connection), connection.tenant_id
        self.catch_up(tenant_id, event.server)
        state, revision = self._state(tenant_id, event.server)
        tenant = self._repository.tenant(tenant_id)
        waivers = tenant.waivers_of(event.server) if tenant else NO_WAIVERS
        decision = decide(state, event, self._rulebook, connection.observed_at, revision, waivers)
        self._take(tenant_id, event.server, decision)

    def command(self, command: AdminCommand) -> None:
        """Carry out a command and change the servers that it touches."""
        repository, tenant_id, subject = self._repository, command.tenant_id, subject_of(command)
        if subject is not None:
            # It may be forgotten by then, or its override over.
            self.tick(tenant_id, subject, command.issued_at)
        before = repository.tenant(tenant_id) or TenantEnforcement(tenant_id)
        known = repository.server(tenant_id, subject) if subject is not None else None
        override = known.override if known is not None else None
        is_known = known is not None if subject is not None else any(True for _ in repository.servers_of(tenant_id))
        decision = apply_command(before, command, is_known, self._rulebook, override)
        if decision.audit is None:
            return
        for notification in decision.notifications:
            repository.emit(notification)
        repository.emit(decision.audit)
        self._keep_tenant(decision.tenant)
        if not decision.touches:
            return
        at, server = command.issued_at, decision.server
        if server is None:
            repository.put_off(tenant_id, change_of(before, decision.tenant, at))
            return
        state, revision = self._state(tenant_id, server)
        change = Change(decision.tenant.waivers_of(server), decision.override)
        waivers = before.waivers_of(server)
        self._take(tenant_id, server, decide(state, None, self._rulebook, at, revision, waivers, change))

    def catch_up(self, tenant_id: str, server: str) -> None:
        """Let a server have the changes that were put off."""
        changes = self._repository.put_off_of(tenant_id, server)
        if not changes:
            return
        tenant = self._repository.tenant(tenant_id) or TenantEnforcement(tenant_id)
        # Nothing but what was put off has changed what covers the server beside the tenant's pauses since.
        own = replace(tenant, pauses=()).waivers_of(server)
        steps: list[tuple[int, Waivers, Waivers]] = []
        for change in reversed(changes):
            was, becomes = change.own.get(server, (own, own))
            steps.append((change.at, _cover(change.before, was), _cover(change.after, becomes)))
            own = was
        for at, before, after in reversed(steps):
            state, revision = self._state(tenant_id, server)
            if state is None:
                return
            self._take(tenant_id, server, decide(state, None, self._rulebook, at, revision, before, Change(after)))

    def tick(self, tenant_id: str, server: str, due: int) -> None:
        """Fire the timers of a server, or of the tenant itself, that are due at or before `due`."""
        if server != TENANT:
            self.catch_up(tenant_id, server)
        tenant = self._repository.tenant(tenant_id)
        if server == TENANT:
            if tenant is not None:
                # A row of the due index may be early: a clock that it moved would not be that of a replay.
                fired = [timer[0] for timer in tenant_timers(tenant) if timer[0] <= due]
                decision = advance_tenant(tenant, max(fired, default=tenant.clock_at))
                for notification in decision.notifications:
                    self._repository.emit(notification)
                self._keep_tenant(decision.tenant)
            return
        state, revision = self._state(tenant_id, server)
        if state is None:
            return
        waivers = tenant.waivers_of(server) if tenant else NO_WAIVERS
        self._take(tenant_id, server, decide(state, None, self._rulebook, due, revision, waivers))

    def _state(self, tenant_id: str, server: str) -> tuple[ServerEnforcement | None, int]:
        state = self._repository.server(tenant_id, server)
        return state, 0 if state else self._repository.forgotten_revision(tenant_id, server)

    def _take(self, tenant_id: str, server: str, decision: Decision) -> None:
        emitted: list[Emitted] = decision.emitted
        for record in emitted:
            self._repository.emit(record)
        self._repository.keep_server(tenant_id, server, decision.state, decision.due_at)
        if decision.state is None:
            self._forget(tenant_id, server)

    def _forget(self, tenant_id: str, server: str) -> None:
        """Drop what the tenant's state holds of a server that is gone."""
        tenant = self._repository.tenant(tenant_id)
        forgotten = forget_server(tenant, server) if tenant is not None else None
        if forgotten is not None:
            self._keep_tenant(forgotten)

    def _keep_tenant(self, tenant: TenantEnforcement) -> None:
        self._repository.keep_tenant(tenant, min((timer[0] for timer in tenant_timers(tenant)), default=None))
