"""Tenant-wide commands that are worked off bit by bit give what carrying them out at once gives."""

from __future__ import annotations

import random
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.time import DAY_MS, HOUR_MS
from streams.engine.partition.view import UNIT_BYTES, StateView, size_of
from streams.engine.ports import Output
from streams.service.simulation import Simulation
from streams.state.keys import POLICIES_KEY, server_key
from streams.state.server_row import decode_state, encode_state
from streams.state.tenant_row import decode_tenant
from streams.testing import FakeRecord, MemoryStore
from streams.wire.records import command_of, connection_of, to_record
from streams.worker.processor import InputProcessor
from streams.worker.sweeps import MAX_PUT_OFF
from tests.support.partition import COMMANDS, COMMANDS_TOPIC, CONNECTIONS, HEADER, RULEBOOK, START, WIRES, line_of
from tests.support.partition import command as command_record
from tests.support.partition import connection as connection_record

TENANTS = ("t1", "t2")
WHOLE = ("PAUSE_CREATE", "PAUSE_CANCEL")
KINDS = (*WHOLE, *WHOLE, *WHOLE, "PAUSE_SERVER", "EXCEPTION_GRANT", "EXCEPTION_REVOKE", "OVERRIDE_BUILD")


def feed(seed: int, count: int, step: int) -> list[FakeRecord]:
    """Connections and commands of two tenants, merged by time."""
    chance = random.Random(seed)
    records, at = [], START
    for number in range(count):
        at += chance.randrange(step)
        tenant, host = chance.choice(TENANTS), f"mx{chance.randrange(6)}.example.com"
        if chance.random() < 0.4:
            kind = chance.choice(KINDS)
            value = COMMANDS.encode(
                command_record(
                    number,
                    tenant_id=tenant,
                    kind=kind,
                    issued_at=at,
                    days=chance.choice((1, 2, 20)),
                    server=None if kind in WHOLE and chance.random() < 0.9 else host,
                    expires_at=at + chance.randrange(1, 40) * DAY_MS,
                )
            )
            records.append(FakeRecord(COMMANDS_TOPIC, number, at, tenant.encode(), value))
        else:
            late = chance.randrange(step) if chance.random() < 0.1 else 0
            build = chance.choice(("15.1.2106.2", "15.1.2106.2", "15.1.2507.61", "14.3.123.4"))
            value = CONNECTIONS.encode(
                connection_record(number, tenant_id=tenant, observed_at=at - late, received=[line_of(build, host)])
            )
            records.append(FakeRecord(WIRES.connections_topic, number, at - late, tenant.encode(), value))
    return records


def folded(records: list[FakeRecord], until: int) -> Simulation:
    simulation = Simulation(RULEBOOK)
    for record in records:
        if record.topic == COMMANDS_TOPIC:
            simulation.command(command_of(COMMANDS.decode(record.value)))
        else:
            simulation.feed(connection_of(CONNECTIONS.decode(record.value)))
    simulation.advance(until)
    return simulation


class Worker:
    """Units of work of random size, over a store; it dies between them now and then."""

    def __init__(self, seed: int, until: int, dies: float) -> None:
        self.chance, self.until, self.dies = random.Random(seed), until, dies
        self.store, self.outputs = MemoryStore(), list[Output]()
        self.processor = self._new()
        self.most_put_off = 0

    def _new(self) -> InputProcessor:
        return InputProcessor(lambda: RULEBOOK, WIRES, HEADER, self.until, cached_servers=3, servers_at_once=1)

    def unit(self, records: list[FakeRecord], ticks: int, moment: int = 0) -> tuple[int, bool]:
        """One unit; gives how many records it has done, and whether timers are left."""
        view, done, has_more = StateView(self.store), 0, False
        self.processor.begin(view)
        for _ in range(ticks):
            has_more = self.processor.on_tick(view, moment, self.chance.choice((1, 2)))
        while done < len(records) and not view.is_full:
            _, group = next(groupby(records[done:], key=lambda record: record.topic))
            run = list(group)
            done += self.processor.on_records(view, run, None)
        self.processor.finish(view)
        if self.chance.random() < self.dies:
            self.processor = self._new()  # killed before the commit
            return 0, True
        self.store.write(view.changes)
        self.outputs += view.outputs
        self.most_put_off = max(self.most_put_off, len(list(self.store.scan(b"v/", b"v0"))))
        if self.chance.random() < self.dies:
            self.processor = self._new()  # killed behind it
        return done, has_more

    def run(self, records: list[FakeRecord], ticks: tuple[int, ...]) -> None:
        while records:
            size = self.chance.randrange(1, 6)
            done, _ = self.unit(records[:size], self.chance.choice(ticks))
            records = records[done:]
        has_more = True
        while has_more:
            _, has_more = self.unit([], 1, self.until)

    def values(self, topic: str, codec: Any) -> list[dict[str, Any]]:
        return [codec.decode(row.value) for row in self.outputs if row.topic == topic and row.value is not None]


def assert_same(worker: Worker, simulation: Simulation) -> None:
    results, store = simulation.results, worker.store
    for server in {row.key for row in results.verdicts}:
        wanted = [to_record(row) for row in results.verdicts if row.key == server]
        found = worker.values(WIRES.verdicts_topic, WIRES.verdicts)
        assert [row for row in found if (row["tenant_id"], row["server"]) == server] == wanted

    def by_id(rows: Any) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: str(row.get("notification_id") or row["audit_id"]))

    notes = worker.values(WIRES.notifications_topic, WIRES.notifications)
    assert by_id(notes) == by_id(map(to_record, results.notifications))
    assert by_id(worker.values(WIRES.audit_topic, WIRES.audit)) == by_id(map(to_record, results.audit))
    last = {(row["tenant_id"], row["server"]): row for row in worker.values(WIRES.servers_topic, WIRES.servers)}
    assert last == {key: to_record(row) for key, row in results.servers.items()}
    states = {key: decode_state(value)[0] for key, value in store.scan(b"s/", b"s0")}
    wanted_states = {server_key(key): state for key, state in simulation.states.items()}
    for key, state in states.items():
        # A row of the due index may be earlier than the state needs; when it comes up it moves nothing but the clock.
        assert state.clock_at >= wanted_states[key].clock_at
        state.clock_at = wanted_states[key].clock_at
    assert states == wanted_states
    tenants = {key: decode_tenant(value)[0] for key, value in store.scan(b"t/", b"t0")}
    assert tenants == {f"t/{tenant}".encode(): state for tenant, state in simulation.tenants.items()}
    assert list(store.scan(b"v/", b"y")) == []


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from((HOUR_MS, DAY_MS, 8 * DAY_MS)),
    st.sampled_from(((0,), (0, 1), (0, 0, 0, 1), (2, 5))),
    st.sampled_from((0.0, 0.2)),
)
def test_servers_that_are_caught_up_later_have_the_same_history(
    seed: int, step: int, ticks: tuple[int, ...], dies: float
) -> None:
    records = feed(seed, 50, step)
    until = max(record.timestamp for record in records) + 60 * DAY_MS
    worker = Worker(seed, until, dies)
    worker.run(records, ticks)
    assert_same(worker, folded(records, until))


def test_several_commands_are_put_off_at_once_and_no_more_than_the_bound() -> None:
    hosts = [line_of("15.1.2106.2", f"mx{number}.example.com") for number in range(20)]
    records = [
        FakeRecord(
            WIRES.connections_topic, at, START + at, b"t1", CONNECTIONS.encode(connection_record(at, received=[line]))
        )
        for at, line in enumerate(hosts)
    ]
    for at in range(20, 20 + 2 * MAX_PUT_OFF):
        kind = WHOLE[at % 2]
        value = COMMANDS.encode(command_record(at, kind=kind, issued_at=START + at, server=None, days=1))
        records.append(FakeRecord(COMMANDS_TOPIC, at, START + at, b"t1", value))
    until = START + 10 * DAY_MS
    worker = Worker(1, until, 0.1)
    worker.run(records, (0,))
    accepted = [row for row in worker.values(WIRES.audit_topic, WIRES.audit) if row["outcome"] == "ACCEPTED"]
    assert len(accepted) > MAX_PUT_OFF
    assert worker.most_put_off == MAX_PUT_OFF
    assert_same(worker, folded(records, until))


@pytest.mark.parametrize("servers", [40_000])
def test_a_command_over_very_many_servers_fills_no_unit_and_holds_up_no_other_tenant(servers: int) -> None:
    until = START + 5 * DAY_MS
    worker = Worker(1, until, 0.0)
    simulation = Simulation(RULEBOOK)
    simulation.feed(connection_of(connection_record(0)))
    (state,) = simulation.states.values()
    rows: dict[bytes, bytes | None] = {}
    for number in range(servers):
        state.server = f"mx{number:05}.example.com"
        rows[f"s/t1/{state.server}".encode()] = encode_state(state, None)
    worker.store.write({**rows, POLICIES_KEY: RULEBOOK.fingerprint.encode()})
    pause = COMMANDS.encode(command_record(1, kind="PAUSE_CREATE", server=None, days=3))
    other = CONNECTIONS.encode(
        connection_record(2, tenant_id="t2", observed_at=START + 2, received=[line_of("15.1.2106.2", "other.example")])
    )
    records = [FakeRecord(COMMANDS_TOPIC, 0, 0, b"t1", pause), FakeRecord(WIRES.connections_topic, 1, 0, b"t2", other)]
    done, units, has_more = 0, 0, True
    worker.processor = worker._new()
    while has_more or done < len(records):
        view = StateView(worker.store)
        worker.processor.begin(view)
        if done < len(records):
            done += worker.processor.on_records(view, records[done : done + 1], None)
        has_more = worker.processor.on_tick(view, 0, 1_000)
        worker.processor.finish(view)
        worker.store.write(view.changes)
        worker.outputs += view.outputs
        units += 1
        assert len(view.outputs) <= 2_100
        assert len(view.changes) <= 2_100
        assert (
            sum(map(size_of, view.outputs)) + sum(len(value or b"") for value in view.changes.values())
            <= 2 * UNIT_BYTES
        )
        if units == 2:
            found = worker.values(WIRES.servers_topic, WIRES.servers)
            assert [row["tenant_id"] for row in found if row["tenant_id"] == "t2"]
            assert len(found) < servers / 10
    paused = [
        row for row in worker.outputs if row.topic == WIRES.verdicts_topic and (row.key or b"").startswith(b"t1/")
    ]
    assert len({row.key for row in paused}) == len(paused) == servers
    assert len(worker.values(WIRES.audit_topic, WIRES.audit)) == 1
    assert units >= servers / 1_000
