"""Servers that a worker knows when a measurement begins: their states, and the changelog that brings these to it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.feed import SEED, Build, Fleet, Server, connection
from benchmarks.load import Row
from streams.domain.keys import ServerKey
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.state import ServerEnforcement
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.settings.worker import DEFAULT_POLICY
from streams.state.keys import server_key, timer_key
from streams.state.server_row import encode_state
from streams.wire.records import connection_of

_APART_MS = 500
Known = tuple[ServerEnforcement, int | None]
"""A state, and when its next timer is due."""


_Kind = tuple[Build, str, bool]


def _kind_of(server: Server, build: Build) -> _Kind:
    return build, server.connector_type, server.is_gateway


def shipped_rules() -> Rulebook:
    """The rules of a worker without settings."""
    return Rulebook((read_policy(DEFAULT_POLICY),), shipped_catalogue())


class _Told(Simulation):
    """Remembers when the next timer of the server is due that was kept last."""

    due_at: int | None = None

    def keep_server(self, key: ServerKey, state: ServerEnforcement | None, due_at: int | None) -> None:
        """See `Repository`."""
        self.due_at = due_at
        super().keep_server(key, state, due_at)


class KnownServers:
    """The states of a fleet after so many connections of each server, the last one before `until` (UTC milliseconds).

    Servers with the same build over the same kind of connector differ in names and addresses only, so the first one of
    each kind is folded through the rules, and the others are renamed from it.
    """

    def __init__(self, fleet: Fleet, until: int, connections: int = 1) -> None:
        self._fleet, self._builds = fleet, list(fleet.builds)
        self._until, self._connections = until, connections
        rules = shipped_rules()
        self._models: dict[_Kind, tuple[Server, Known]] = {}
        for server, build in zip(fleet.servers, fleet.builds, strict=True):
            if (kind := _kind_of(server, build)) not in self._models:
                self._models[kind] = server, self._folded(rules, server, build)

    def _folded(self, rules: Rulebook, server: Server, build: Build) -> Known:
        simulation, chance = _Told(rules), random.Random(SEED)
        begin = self._until - self._connections * _APART_MS
        for number in range(self._connections):
            at = begin + number * _APART_MS
            simulation.feed(connection_of(connection(server, build, at, number, chance)))
        (state,) = simulation.states.values()
        return state, simulation.due_at

    def __getitem__(self, number: int) -> Known:
        """The state of a server by its number."""
        server = self._fleet.servers[number]
        model, (state, due) = self._models[_kind_of(server, self._builds[number])]
        evidence = state.evidence
        if evidence is not None:
            evidence = evidence._replace(
                received=evidence.received and evidence.received.replace(model.host, server.host),
                message_id=evidence.message_id and evidence.message_id.replace(model.host, server.host),
                connector_id=f"inbound-{server.tenant_id}",
                source_ip=server.address,
            )
        renamed = replace(
            state,
            tenant_id=server.tenant_id,
            server=server.host,
            connector_id=f"inbound-{server.tenant_id}",
            source_ip=server.address,
            evidence=evidence,
            # Its machine is its own too: with that of the model every first connection would show another one.
            stamps=tuple(
                stamp._replace(
                    by_address=server.inside if stamp.by_address == model.inside else stamp.by_address,
                    source_ip=server.address if stamp.source_ip == model.address else stamp.source_ip,
                )
                for stamp in state.stamps
            ),
        )
        return renamed, due

    def changelog_rows(self) -> Iterator[Row]:
        """Tenant and row of the changelog of a worker that knows them: of each a state, and a row of the due index."""
        for number, server in enumerate(self._fleet.servers):
            state, due = self[number]
            yield server.tenant_id, server_key(state.key), encode_state(state, due)
            if due is not None:
                yield server.tenant_id, timer_key(due, state.key), b""


class KnownSimulation(Simulation):
    """A simulation that begins with known servers, and looks at one only when something comes of it."""

    def __init__(self, known: KnownServers, fleet: Fleet) -> None:
        super().__init__(shipped_rules())
        self._known, self._fleet = known, fleet

    def server(self, key: ServerKey) -> ServerEnforcement | None:
        """See `Repository`."""
        state = super().server(key)
        return state if state is not None else self._known[self._fleet.number_of(key.tenant_id, key.server)][0]
