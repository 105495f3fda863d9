"""The counting kernel against the path of routine connections that it stands in for, over every kind of feed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.feed import Feed, connections
from streams.domain.exchange.any_form import LINES_PARSED
from streams.domain.policy.rulebook import Rulebook
from streams.engine.partition.view import StateView
from streams.testing import FakeRecord, MemoryStore
from streams.worker.counting_kernel import CountingKernel
from streams.worker.processor import InputProcessor
from tests.support.changing_policies import CHANGE, POLICIES, REFUSED, RULEBOOKS, STEPS
from tests.support.four_servers import CODEC, HEADER, WIRES, feed
from tests.support.machine_feed import cloud_feed, machine_feed, mixed_feed

FEEDS = [feed, machine_feed, mixed_feed, cloud_feed]
NAMES = ["any builds", "steady machines", "mixed machines", "cloud builds"]


class Run:
    """A processor with or without the kernel, and all that it has written."""

    def __init__(self, rulebook: Rulebook, until: int, cached: int, has_kernel: bool) -> None:
        self.processor = InputProcessor(
            lambda: rulebook, WIRES, HEADER, until, cached_servers=cached, has_kernel=has_kernel
        )
        self.store = MemoryStore()
        self.units: list[Any] = []

    @property
    def taken(self) -> int:
        kernel: CountingKernel = self.processor._routine_path._kernel
        return kernel.taken

    def feed(self, records: list[FakeRecord], seed: int) -> None:
        chance = random.Random(seed)
        while records:
            view = StateView(self.store)
            self.processor.begin(view)
            self.processor.on_tick(view, 0, 100)
            size = chance.randrange(1, 40)
            # A bound as it comes from a command that waits: what is at or after it is left for later.
            before = chance.choice((None, None, records[0].timestamp, records[: size + 1][-1].timestamp))
            done = self.processor.on_records(view, records[:size], before)
            done += self.processor.on_records(view, records[done:size], None) if done < size else 0
            self.processor.finish(view)
            self.store.write(view.changes)
            self.units.append((done, view.outputs, view.changes, view.size_bytes, view.rejected, view.notes.counts))
            records = records[done:]


def assert_same(rulebook: Rulebook, records: list[FakeRecord], until: int, cached: int, seed: int) -> int:
    """Both give the same units: outputs, rows, sizes, rejected records and counts; gives what the kernel has taken."""
    runs = [Run(rulebook, until, cached, has_kernel) for has_kernel in (True, False)]
    for run in runs:
        run.feed(records, seed)
    assert runs[0].units == runs[1].units
    assert dict(runs[0].store.scan(b"", b"\xff")) == dict(runs[1].store.scan(b"", b"\xff"))
    assert runs[0].processor.decided == runs[1].processor.decided
    return runs[0].taken


def records_of(rows: list[dict[str, Any]], seed: int) -> list[FakeRecord]:
    chance = random.Random(seed)
    rows = [row | {"refused_before": chance.choice(REFUSED)} for row in rows]
    topic = WIRES.connections_topic
    return [
        FakeRecord(topic, at, row["observed_at"], row["tenant_id"].encode(), CODEC.encode(row))
        for at, row in enumerate(rows)
    ]


@pytest.mark.parametrize("policies", POLICIES)
@pytest.mark.parametrize("make", FEEDS, ids=NAMES)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.sampled_from(STEPS), cached=st.sampled_from((1, 3, 1000)))
def test_it_gives_what_the_routine_path_gives(
    make: Callable[..., list[dict[str, Any]]], policies: str, seed: int, step: int, cached: int
) -> None:
    rows = make(seed, 120, step, start=CHANGE - 30 * step)
    assert_same(RULEBOOKS[policies], records_of(rows, seed), rows[-1]["observed_at"], cached, seed)


@pytest.mark.parametrize("make", [mixed_feed, cloud_feed], ids=NAMES[2:])
def test_it_takes_some_connections_of_mixed_servers(make: Callable[..., list[dict[str, Any]]]) -> None:
    rows = make(1, 2_000, 2_000, start=CHANGE - 1_000_000)
    taken = assert_same(RULEBOOKS["plain"], records_of(rows, 1), rows[-1]["observed_at"], 1_000, 1)
    assert taken > len(rows) / 10


def test_the_cache_knows_of_each_row_that_is_decoded() -> None:
    for seed in range(12):
        rows = mixed_feed(seed, 400, 2_000, start=CHANGE - 400_000)
        for cached in (1_000, 4):
            run = Run(RULEBOOKS["plain"], rows[-1]["observed_at"], cached, has_kernel=True)
            run.feed(records_of(rows, seed), seed)
            cache = run.processor._repository.cache
            assert {key for key, row in cache.rows.items() if row.is_decoded} == set(cache._decoded)


def test_it_takes_most_connections_of_ordinary_servers() -> None:
    rows = [row for _, row in connections(Feed(5_000, 50, CHANGE))]
    taken = assert_same(RULEBOOKS["plain"], records_of(rows, 1), CHANGE, 1_000, 1)
    assert taken > len(rows) * 0.8


def test_a_line_that_no_other_message_has_is_read_once() -> None:
    line = "from a by mx1.example with ESMTPS id 4Xq{} for <a@b.example>; Thu, 1 Oct 2026 20:00:00 +0000"
    rows = [
        row | {"received": [line.format(number)]} for number, (_, row) in enumerate(connections(Feed(200, 20, CHANGE)))
    ]
    read = []
    for has_kernel in (False, True):
        run = Run(RULEBOOKS["plain"], CHANGE, 1_000, has_kernel)
        before = LINES_PARSED.of_other_form
        run.feed(records_of(rows, 1), 1)
        read.append(LINES_PARSED.of_other_form - before)
    assert read[0] == read[1] >= len(rows)


DAMAGES: list[Callable[[random.Random, bytes], bytes]] = [
    lambda chance, value: value[: chance.randrange(len(value))],
    lambda chance, value: value + chance.randbytes(chance.randrange(1, 4)),
    lambda chance, value: _with_bytes(chance, value, 1),
    lambda chance, value: _with_bytes(chance, value, 4),
    lambda chance, value: value.replace(b"15.1.", b"15.\xb2.", 1),
    lambda chance, value: value.replace(b";", chance.choice([b".", b"(", b";;"]), chance.randrange(1, 3)),
]


def _with_bytes(chance: random.Random, value: bytes, count: int) -> bytes:
    damaged = bytearray(value)
    for _ in range(count):
        damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 2, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(damaged)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 10**6), damage=st.sampled_from(DAMAGES))
def test_damaged_values_are_read_as_the_routine_path_reads_them(
    seed: int, damage: Callable[[random.Random, bytes], bytes]
) -> None:
    chance = random.Random(seed)
    rows = machine_feed(seed, 60, 2_000, start=CHANGE - 60_000)
    records = records_of(rows, seed)
    mixed = []
    for record in records:
        mixed.append(record)
        if chance.random() < 0.5:
            mixed.append(record._replace(value=damage(chance, record.value or b"")))
    assert_same(RULEBOOKS["plain"], mixed, rows[-1]["observed_at"], 1_000, seed)


def test_records_without_key_or_value_are_left() -> None:
    rows = machine_feed(1, 40, 2_000, start=CHANGE - 60_000)
    records = records_of(rows, 1)
    topic, at = WIRES.connections_topic, records[-1].timestamp
    odd = [
        FakeRecord(topic, 100, at, None, records[-1].value),
        FakeRecord(topic, 101, at, records[-1].key, None),
        FakeRecord(topic, 102, at, b"another", records[-1].value),
        FakeRecord(topic, 103, at, records[-1].key, b""),
    ]
    assert_same(RULEBOOKS["plain"], records + odd, at, 1_000, 1)
