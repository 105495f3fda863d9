"""Connections, commands and clock ticks on many servers, whatever keeps their states.

Before a command of time `t` every timer of the servers that it touches, due at or before `t`, fires.

What a tenant-wide command changes for its servers may be put off: the tenant's own state changes at once, and each
server is caught up before anything else happens to it. So it has the same history whenever its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from streams.domain.exchange.detection import HostRun
from streams.domain.keys import ServerKey
from streams.domain.policy.ladder import ClockStop
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.server.decide import decide
from streams.domain.server.override import Change
from streams.domain.server.sighting import Sighting, detect_server
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.apply import advance_tenant, apply_command
from streams.domain.tenant.commands import AdminCommand, subject_of
from streams.domain.tenant.reminders import tenant_timers
from streams.domain.tenant.settling import forget_server
from streams.domain.tenant.state import TenantEnforcement
from streams.domain.tenant.waivers import NO_WAIVERS, Waivers
from streams.service.effects import TENANT, Effects, KeptServer, KeptTenant, TenantChange


class Repository(Protocol):
    """Loads what is stored."""

    def server(self, key: ServerKey) -> ServerEnforcement | None:
        """The state of a server."""

    def forgotten_revision(self, key: ServerKey) -> int:
        """The last verdict revision of a server that was forgotten, 0 for one that never was."""

    def servers_of(self, tenant_id: str) -> Iterable[str]:
        """The servers of a tenant, in order of their names."""

    def put_off_of(self, key: ServerKey) -> Sequence[TenantChange]:
        """The changes that a server has not had yet, the oldest first; once its state is kept it has had them."""

    def tenant(self, tenant_id: str) -> TenantEnforcement | None:
        """The state of a tenant, None without any command."""


class Enforcer:
    """Works out what events come to, given the states of a repository; storing and writing it is the caller's."""

    def __init__(self, repository: Repository, rulebook: Rulebook) -> None:
        """Decide about the states in `repository`."""
        self._repository, self._rulebook = repository, rulebook

    def connection(self, connection: InboundConnection, run: HostRun | None = None) -> Effects:
        """Take a connection into account; `run` is what is known of its host's lines already."""
        step = _Step(self._repository, self._rulebook)
        step.connection(detect_server(connection, run))
        return step.effects

    def command(self, command: AdminCommand) -> Effects:
        """Carry out a command and change the servers that it touches."""
        step = _Step(self._repository, self._rulebook)
        step.command(command)
        return step.effects

    def catch_up(self, key: ServerKey) -> Effects:
        """Let a server have the changes that were put off."""
        step = _Step(self._repository, self._rulebook)
        step.catch_up(key)
        return step.effects

    def tick(self, key: ServerKey, due: int) -> Effects:
        """Fire the timers of a server, or of the tenant itself, that are due at or before `due`."""
        step = _Step(self._repository, self._rulebook)
        step.tick(key, due)
        return step.effects


class _Step:
    """One event: sees what is stored through what it has changed so far."""

    def __init__(self, repository: Repository, rulebook: Rulebook) -> None:
        self.effects = Effects()
        self._repository, self._rulebook = repository, rulebook

    def connection(self, event: Sighting) -> None:
        key = event.key
        self.catch_up(key)
        self._decide(key, self._server(key), event.connection.observed_at, self._waivers_of(key), event=event)

    def command(self, command: AdminCommand) -> None:
        tenant_id, name, at = command.tenant_id, subject_of(command), command.issued_at
        subject = ServerKey(tenant_id, name) if name is not None else None
        if subject is not None:
            # It may be forgotten by then, or its override over.
            self.tick(subject, at)
        before = self._tenant(tenant_id) or TenantEnforcement(tenant_id)
        known = self._server(subject) if subject is not None else None
        override = known.override if known is not None else None
        is_known = known is not None if subject is not None else self._has_servers(tenant_id)
        decision = apply_command(before, command, is_known, self._rulebook, override)
        if decision.audit is None:
            return
        self.effects.outputs += decision.notifications
        self.effects.outputs.append(decision.audit)
        self._keep_tenant(decision.tenant)
        server = decision.server
        if not decision.touches:
            return
        if server is None:
            self.effects.put_off = tenant_id, change_of(before, decision.tenant, at)
            return
        key = ServerKey(tenant_id, server)
        change = Change(decision.tenant.waivers_of(server), decision.override)
        self._decide(key, self._server(key), at, before.waivers_of(server), change=change)

    def catch_up(self, key: ServerKey) -> None:
        changes = self._repository.put_off_of(key)
        if not changes:
            return
        tenant_id, server = key
        tenant = self._tenant(tenant_id) or TenantEnforcement(tenant_id)
        # Nothing but what was put off has changed what covers the server beside the tenant's pauses since.
        own = replace(tenant, pauses=()).waivers_of(server)
        steps: list[tuple[int, Waivers, Waivers]] = []
        for change in reversed(changes):
            was, becomes = change.own.get(server, (own, own))
            steps.append((change.at, _joined(change.before, was), _joined(change.after, becomes)))
            own = was
        for at, before, after in reversed(steps):
            state = self._server(key)
            if state is None:
                return
            self._decide(key, state, at, before, change=Change(after))

    def tick(self, key: ServerKey, due: int) -> None:
        if key.server == TENANT:
            self._tick_tenant(key.tenant_id, due)
            return
        self.catch_up(key)
        state = self._server(key)
        if state is not None:
            self._decide(key, state, due, self._waivers_of(key))

    def _tick_tenant(self, tenant_id: str, due: int) -> None:
        tenant = self._tenant(tenant_id)
        if tenant is None:
            return
        # A row of the due index may be early: a clock that it moved would not be that of a replay.
        fired = [timer[0] for timer in tenant_timers(tenant) if timer[0] <= due]
        decision = advance_tenant(tenant, max(fired, default=tenant.clock_at))
        self.effects.outputs += decision.notifications
        self._keep_tenant(decision.tenant)

    # --- states, as changed so far ---

    def _server(self, key: ServerKey) -> ServerEnforcement | None:
        kept = self.effects.server(key) if self.effects.kept else None
        return kept.state if kept is not None else self._repository.server(key)

    def _tenant(self, tenant_id: str) -> TenantEnforcement | None:
        kept = self.effects.tenant(tenant_id) if self.effects.kept else None
        return kept if kept is not None else self._repository.tenant(tenant_id)

    def _waivers_of(self, key: ServerKey) -> Waivers:
        tenant = self._tenant(key.tenant_id)
        return tenant.waivers_of(key.server) if tenant is not None else NO_WAIVERS

    def _has_servers(self, tenant_id: str) -> bool:
        return any(True for _ in self._repository.servers_of(tenant_id))

    def _revision_of(self, key: ServerKey) -> int:
        """The last verdict revision of a server without a state."""
        revision = self.effects.forgotten_revision(key)
        return revision if revision is not None else self._repository.forgotten_revision(key)

    # --- effects ---

    def _decide(
        self,
        key: ServerKey,
        state: ServerEnforcement | None,
        at: int,
        waivers: Waivers,
        event: Sighting | None = None,
        change: Change | None = None,
    ) -> None:
        revision = 0 if state is not None else self._revision_of(key)
        decision = decide(state, event, self._rulebook, at, revision, waivers, change)
        self.effects.outputs += decision.emitted
        self.effects.kept.append(KeptServer(key, decision.state, decision.due_at))
        if decision.state is None:
            self._forget(key)

    def _forget(self, key: ServerKey) -> None:
        """Drop what the tenant's state holds of a server that is gone."""
        tenant = self._tenant(key.tenant_id)
        forgotten = forget_server(tenant, key.server) if tenant is not None else None
        if forgotten is not None:
            self._keep_tenant(forgotten)

    def _keep_tenant(self, tenant: TenantEnforcement) -> None:
        due_at = min((timer[0] for timer in tenant_timers(tenant)), default=None)
        self.effects.kept.append(KeptTenant(tenant, due_at))


def change_of(before: TenantEnforcement, after: TenantEnforcement, at: int) -> TenantChange:
    """What is different for servers when a command at `at` made one tenant's state the other."""
    mine, others = replace(before, pauses=()), replace(after, pauses=())
    servers = {*before.server_pauses, *after.server_pauses, *before.exceptions, *after.exceptions}
    waivers_by_server = {server: (mine.waivers_of(server), others.waivers_of(server)) for server in sorted(servers)}
    own = {server: pair for server, pair in waivers_by_server.items() if pair[0] != pair[1]}
    spans = [tuple(pause.span for pause in tenant.pauses) for tenant in (before, after)]
    return TenantChange(at, spans[0], spans[1], own)


def _joined(spans: Sequence[ClockStop], own: Waivers) -> Waivers:
    return Waivers((*spans, *own.pauses), own.exceptions)
