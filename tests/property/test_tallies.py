"""What a processor tells of a unit, against a count of what it wrote and of what it was given."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.policy.judgement import Finding
from streams.domain.policy.rulebook import Rulebook
from streams.domain.time import DAY_MS, HOUR_MS
from streams.engine.partition.view import StateView
from streams.engine.telemetry import DEAD_LETTERS, Label
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.state.server_row import ServerRow, encode_state
from streams.telemetry.counts import COMMANDS, CONNECTIONS, NOTIFICATIONS, VERDICTS
from streams.testing import FakeRecord, MemoryStore, RecordingTelemetry
from streams.wire.records import connection_of
from streams.worker.due_index import DueTimers
from streams.worker.processor import InputProcessor
from tests.support.four_servers import CODEC, HEADER, WIRES, feed

RULEBOOK = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())


class Units:
    """Runs units of random size, and adds up what they tell."""

    def __init__(self, processor: InputProcessor, seed: int) -> None:
        self.processor, self.chance = processor, random.Random(seed)
        self.store = MemoryStore()
        self.counts: Counter[Label] = Counter()
        self.outputs: Counter[str] = Counter()
        self.moments = 0

    def unit(self, records: list[FakeRecord], moment: int, limit: int) -> bool:
        view = StateView(self.store)
        self.processor.begin(view)
        has_more = self.processor.on_tick(view, moment, limit)
        assert self.processor.on_records(view, records, None) == len(records)
        self.processor.finish(view)
        self.store.write(view.changes)
        self.counts += view.notes.counts
        self.moments += len(view.notes.moments)
        for output in view.outputs:
            if output.value is not None:
                self.outputs[output.topic] += 1
        return has_more

    def total(self, name: str) -> int:
        return sum(count for label, count in self.counts.items() if label[0] == name)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from((20_000, HOUR_MS, DAY_MS)), st.sampled_from((1, 1000)))
def test_every_connection_verdict_notification_and_dead_letter_is_counted_once(
    seed: int, step: int, cached: int
) -> None:
    rows = [row | {"refused_before": at % 3} for at, row in enumerate(feed(seed, 120, step))]
    until = rows[-1]["observed_at"] + 40 * DAY_MS
    telemetry = RecordingTelemetry()
    processor = InputProcessor(lambda: RULEBOOK, WIRES, HEADER, until, cached_servers=cached, telemetry=telemetry)
    units = Units(processor, seed)
    topic = WIRES.connections_topic
    records = [FakeRecord(topic, at, 0, row["tenant_id"].encode(), CODEC.encode(row)) for at, row in enumerate(rows)]
    bad = units.chance.randrange(len(records))
    records[bad] = records[bad]._replace(key=b"another")
    while records:
        size = units.chance.randrange(1, 40)
        units.unit(records[:size], 0, 100)
        records = records[size:]
        assert telemetry.timers[0] == len(list(units.store.scan(b"d/", b"d0")))
    while units.unit([], until, 3):
        assert telemetry.timers[0] == len(list(units.store.scan(b"d/", b"d0")))
    refused = sum(row["refused_before"] for at, row in enumerate(rows) if at != bad)
    assert units.total(CONNECTIONS) == len(rows) - 1 + refused
    assert units.total(DEAD_LETTERS) == units.outputs[f"{topic}.dlq"] == 1
    assert units.counts[DEAD_LETTERS, topic, "MalformedError"] == 1
    assert units.total(VERDICTS) == units.outputs[WIRES.verdicts_topic] >= units.moments
    assert units.total(NOTIFICATIONS) == units.outputs[WIRES.notifications_topic]
    assert units.total(COMMANDS) == units.outputs[WIRES.audit_topic] == 0
    outcomes = Counter(row["outcome"] or "UNKNOWN" for at, row in enumerate(rows) if at != bad)
    outcomes["REJECTED"] += refused
    counted = Counter[str]()
    for label, count in units.counts.items():
        if label[0] == CONNECTIONS:
            counted[label[1]] += count
    assert counted == outcomes


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_rows_that_come_and_go_while_they_are_counted_are_counted_once(seed: int, limit: int) -> None:
    chance = random.Random(seed)
    store = MemoryStore()
    rows = {b"d/%04d" % chance.randrange(200) for _ in range(40)}
    store.write(dict.fromkeys(rows, b""))
    timers = DueTimers(b"d/", b"d0")
    while timers.count is None:
        view = StateView(store)
        timers.advance(view, limit)
        for _ in range(chance.randrange(6)):
            row = b"d/%04d" % chance.randrange(200)
            if row in rows:
                rows.remove(row)
                timers.changed(row, -1)
                view.put(row, None)
            else:
                rows.add(row)
                timers.changed(row, 1)
                view.put(row, b"")
        store.write(view.changes)
    assert timers.count == len(rows)


def test_a_row_tells_its_finding_without_being_decoded() -> None:
    simulation = Simulation(RULEBOOK)
    for row in feed(5, 200, DAY_MS):
        simulation.feed(connection_of(row))
    findings = set()
    for state in simulation.states.values():
        assert tuple(Finding)[ServerRow(encode_state(state, 7)).finding] is state.finding
        findings.add(state.finding)
    assert len(findings) > 1
