"""Across a switch of catalogues a worker, which only counts where it can, decides as the fold of the pure core does."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.exchange.build import parse_build
from streams.domain.exchange.tables import catalogue_of
from streams.domain.policy.policy import ConnectorType, CriticalPatches, Policy
from streams.domain.policy.rulebook import PublishedCatalogue, Rulebook
from streams.domain.time import DAY_MS, HOUR_MS
from streams.engine.partition.view import StateView
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.state.keys import server_key
from streams.state.server_row import decode_state
from streams.testing import FakeRecord, MemoryStore
from streams.wire.records import connection_of, to_record
from streams.worker.processor import InputProcessor
from tests.support.catalogues import GOOD, published, tables
from tests.support.four_servers import CODEC, HEADER, WIRES, feed

SOUND = catalogue_of(tables(build=None))
PATCHED = replace(read_policy("microsoft-2026-09"), critical_patches=CriticalPatches(0))


def rules(policy: Policy, *catalogues: PublishedCatalogue) -> Rulebook:
    return Rulebook((policy,), SOUND, catalogues=catalogues)


def decoded(outputs: list[Any], topic: str, codec: Any) -> list[dict[str, Any]]:
    return [codec.decode(output.value) for output in outputs if output.topic == topic]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from((20_000, 600_000, HOUR_MS)),
    st.integers(5, 60),
    st.sampled_from((1, HOUR_MS, 20 * HOUR_MS)),
    st.sampled_from((1, 3, 1000)),
)
def test_a_catalogue_published_meanwhile_gives_what_one_known_from_the_start_gives(
    seed: int, step: int, at_record: int, lead: int, cached: int
) -> None:
    chance = random.Random(seed)
    # A late connection may find that time has passed already; here the clock passes with the records.
    rows = sorted(feed(seed, 120, step), key=lambda row: row["observed_at"])
    now = rows[at_record - 1]["observed_at"] + 1
    falls = published(1, now + lead, tables(), published_at=now)
    passes = published(2, now + 2 * lead + HOUR_MS, tables(build=None), published_at=now)
    before, after = rules(PATCHED), rules(PATCHED, falls, passes)
    assert [
        found.judge(parse_build(GOOD), at, ConnectorType.ON_PREMISES, "t0").finding.value
        for found, at in ((before, now), (after, now + lead), (after, now + 2 * lead + HOUR_MS))
    ] == ["COMPLIANT", "OUT_OF_DATE", "COMPLIANT"]
    simulation = Simulation(after)
    for row in rows:
        simulation.feed(connection_of(row))
    until = max(row["observed_at"] for row in rows) + 5 * DAY_MS
    simulation.advance(until)

    governing = before
    processor = InputProcessor(lambda: governing, WIRES, HEADER, until, cached_servers=cached)
    store, outputs = MemoryStore(), list[Any]()
    stream_time = 0

    def unit(records: list[FakeRecord], moment: int | None, limit: int = 100) -> bool:
        view = StateView(store)
        processor.begin(view)
        has_more = processor.on_tick(view, moment, limit) if moment is not None else False
        if not has_more:
            assert processor.on_records(view, records, None) == len(records)
        processor.finish(view)
        store.write(view.changes)
        outputs.extend(view.outputs)
        return has_more

    records = [
        FakeRecord(WIRES.connections_topic, at, 0, row["tenant_id"].encode(), CODEC.encode(row))
        for at, row in enumerate(rows)
    ]
    at = 0
    while at < len(records):
        if at >= at_record:
            governing = after
        size = min(chance.randrange(1, 12), len(records) - at, at_record - at if at < at_record else 10**6)
        moment = stream_time if chance.random() < 0.7 else 0
        while unit(records[at : at + size], moment, chance.choice((1, 3, 100))):
            pass
        stream_time = max([stream_time, *(row["observed_at"] for row in rows[at : at + size])])
        at += size
    governing = after
    while unit([], until, 3):
        pass

    results = simulation.results
    verdicts = sorted(decoded(outputs, WIRES.verdicts_topic, WIRES.verdicts), key=lambda row: row["verdict_id"])
    assert verdicts == sorted(map(to_record, results.verdicts), key=lambda row: row["verdict_id"])
    notes = decoded(outputs, WIRES.notifications_topic, WIRES.notifications)
    assert sorted(notes, key=lambda row: row["notification_id"]) == sorted(
        map(to_record, results.notifications), key=lambda row: row["notification_id"]
    )
    # A tick that finds nothing due still moves a server's clock.
    states = {key: replace(decode_state(value)[0], clock_at=0) for key, value in store.scan(b"s/", b"s0")}
    wanted = {server_key(key): replace(state, clock_at=0) for key, state in simulation.states.items()}
    assert states == wanted
