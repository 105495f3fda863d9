"""What an event comes to is worked out and checked before anything is changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.domain.keys import ServerKey
from streams.domain.outputs.verdict import Verdict
from streams.domain.server.decide import Forgotten
from streams.domain.time import DAY_MS
from streams.engine.partition.view import StateView
from streams.service.effects import Effects, KeptServer
from streams.service.enforcer import Enforcer
from streams.service.simulation import Simulation
from streams.testing import MemoryStore, RecordingTelemetry
from streams.wire.records import command_of, connection_of
from streams.worker.processor import InputProcessor
from streams.worker.repository import PartitionRepository
from tests.support.partition import (
    COMMANDS_TOPIC,
    HEADER,
    HOST,
    RULEBOOK,
    START,
    TENANT,
    UNTIL,
    WIRES,
    Partition,
    command,
    connection,
)

KEY = ServerKey(TENANT, HOST)


def repository() -> tuple[PartitionRepository, StateView]:
    """A repository at the beginning of a unit, and its view."""
    found, view = PartitionRepository(WIRES, 1 << 20), StateView(MemoryStore())
    found.begin(view)
    return found, view


def effects_of(states: Any, number: int = 0) -> Effects:
    """What a connection comes to."""
    return Enforcer(states, RULEBOOK).connection(connection_of(connection(number)))


def test_an_event_changes_no_state_of_the_repository() -> None:
    simulation = Simulation(RULEBOOK)
    effects = effects_of(simulation)
    assert simulation.states == {}
    assert any(isinstance(record, Verdict) for record in effects.outputs)
    (kept,) = effects.kept
    assert isinstance(kept, KeptServer)
    assert kept.key == KEY


def test_changes_are_applied_when_they_are_committed_and_not_before() -> None:
    rows, view = repository()
    changes = rows.prepare(effects_of(rows), 0)
    assert (view.changes, view.outputs, view.size_bytes) == ({}, [], 0)
    assert rows.server(KEY) is None
    rows.commit(changes)
    rows.finish()
    state = rows.server(KEY)
    assert state is not None
    assert [output.topic for output in view.outputs] == [output.topic for output in changes.outputs]
    assert set(view.changes) == {f"s/{TENANT}/{HOST}".encode(), *(row for row, _ in changes.timers)}


@pytest.mark.parametrize("leaves_out", [False, True])
def test_a_row_that_is_too_large_fails_before_anything_is_changed(leaves_out: bool) -> None:
    rows, view = repository()
    effects = effects_of(rows)
    (kept,) = effects.kept
    assert isinstance(kept, KeptServer)
    assert kept.state is not None
    kept.state = replace(kept.state, policy_id="x" * 2_000_000)
    with pytest.raises(ValueError, match="state row b's/"):
        rows.prepare(effects, 0, leaves_out=leaves_out)
    assert (view.changes, view.outputs, view.size_bytes) == ({}, [], 0)


def test_an_event_sees_what_it_has_changed_so_far() -> None:
    simulation = Simulation(RULEBOOK)
    simulation.feed(connection_of(connection(0)))
    revision = simulation.states[KEY].revision
    at = START + 500 * DAY_MS
    late = command_of(command(1, issued_at=at, kind="OVERRIDE_BUILD", expires_at=at + DAY_MS))
    effects = Enforcer(simulation, RULEBOOK).command(late)
    # Its timers fire first, and forget it: then there is nothing to override.
    (forgotten,) = [record for record in effects.outputs if isinstance(record, Forgotten)]
    assert forgotten.revision >= revision
    assert effects.server(KEY) is not None
    assert effects.finding is None
    assert KEY in simulation.states


def test_timers_are_counted_right_where_a_forgotten_server_changes_its_tenant() -> None:
    partition = Partition()
    telemetry = RecordingTelemetry()
    partition.processor = InputProcessor(lambda: RULEBOOK, WIRES, HEADER, UNTIL, telemetry=telemetry)
    partition.feed([connection(0)])
    partition.feed([command(1, kind="EXCEPTION_GRANT", expires_at=START + 20 * DAY_MS)], COMMANDS_TOPIC)
    partition.feed([command(2, kind="PAUSE_CREATE", server=None, issued_at=START + DAY_MS)], COMMANDS_TOPIC)
    partition.fire(START + 499 * DAY_MS)
    assert telemetry.timers[0] == len(list(partition.store.scan(b"d/", b"d0")))
