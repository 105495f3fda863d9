"""The writer's loop over a log in memory, failing at every step: the committed result is the fold, each record once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from streams.engine.config import PartitionConfig
from streams.engine.partition.loop import SLICE_RECORDS, ProcessingLoop
from streams.engine.partition.queues import PartitionInputs, RecordQueue
from streams.engine.partition.restore import POSITION
from streams.engine.partition.unit import MARKER, MERGED_MARKER, UnitOfWork
from streams.engine.partition.view import StateView
from streams.engine.ports import Output, Record
from streams.errors import DependencyError
from streams.kafka.cluster import Cluster
from streams.kafka.unread import UnreadBatch
from streams.testing import (
    Fail,
    FakeRecord,
    FakeTransactions,
    InjectedError,
    MemoryInput,
    MemoryLog,
    MemoryStore,
    never_fail,
)

BATCH = b"\0" * 16 + b"\2" + b"\0" * 44
"""As a broker stores one: base offset, length, epoch, format 2, then what a test does not look at."""
STEPS = ("begun", "sent", "committed", "stored")


def marker(log: MemoryLog, row: bytes) -> int:
    """The last offset of an input that is in the state, -1 before the first."""
    return int(log.state.get(row, b"-1"))


class Counting:
    """Keeps counts as numbers from unit to unit and hands them over once per unit; a `tick` emits what was not told."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}
        self.changed: set[bytes] = set()

    def begin(self, view: StateView) -> None:
        assert not self.changed

    def finish(self, view: StateView) -> None:
        for key in self.changed:
            view.put(key, b"%d" % self.counts[key])
        self.changed.clear()

    def timestamp_of(self, record: Record) -> int:
        return record.timestamp

    def on_records(self, view: StateView, records: Sequence[Record], before: int | None) -> int:
        for index, record in enumerate(records):
            if view.is_full or (before is not None and record.timestamp >= before):
                return index
            if record.value == b"bad":
                view.reject(record, ValueError("bad"))
                continue
            key = record.key or b""
            count = self.counts[key] = (self.counts[key] if key in self.counts else int(view.get(key) or 0)) + 1
            self.changed.add(key)
            view.emit(Output("out", key, b"%d %d" % (count, record.timestamp)))
        return len(records)

    def tick_moment(self, is_caught_up: bool) -> int | None:
        return 1 if is_caught_up else None

    def on_tick(self, view: StateView, moment: int, limit: int) -> bool:
        if view.get(b"ticked") is None:
            view.put(b"ticked", b"1")
            view.emit(Output("out", b"tick", b"1"))
        return False


def feed(chance: random.Random, topic: str, count: int) -> list[Record]:
    moments = sorted(chance.randrange(1_000) for _ in range(count))
    return [
        FakeRecord(topic, offset, at, b"%d" % chance.randrange(9), chance.choice((b"v", b"v", b"v", b"bad")), ())
        for offset, at in enumerate(moments)
    ]


def fold(source: list[Record], side: list[Record]) -> tuple[dict[bytes, bytes], list[tuple[bytes | None, Any]]]:
    merged = sorted([*side, *source], key=lambda record: record.timestamp)  # stable: side first at the same moment
    counts: Counter[bytes] = Counter()
    outputs: list[tuple[bytes | None, Any]] = []
    for record in merged:
        if record.value == b"bad":
            outputs.append((record.key, b"bad"))
        else:
            counts[record.key or b""] += 1
            outputs.append((record.key, b"%d %d" % (counts[record.key or b""], record.timestamp)))
    state = {key: b"%d" % count for key, count in counts.items()}
    return {**state, b"ticked": b"1"}, [*outputs, (b"tick", b"1")]


async def run_once(
    log: MemoryLog, source: list[Record], side: list[Record], fail_at: str, fail_count: int, chance: random.Random
) -> None:
    """One life of a writer: restore from the log, work on what is not in the state, until the end or the failure."""
    config = PartitionConfig(Cluster(""), "app", "group", "in", "side", "changelog", tick_seconds=3600, unit_records=40)
    store = log.restored()
    transactions: Any = FakeTransactions(log, Fail(fail_at, fail_count))
    queue = RecordQueue(10_000, 1 << 30)
    waiting = source[marker(log, MARKER) + 1 :]
    side_input: Any = MemoryInput(side[marker(log, MERGED_MARKER) + 1 :])
    inputs = PartitionInputs(queue, side_input, lambda: not waiting)
    work = ProcessingLoop(config, 0, inputs, transactions, store, Counting(), transactions.failpoint)
    task = asyncio.create_task(work.run())
    while waiting and not task.done():
        size = chance.choice((1, 3, 30, 200))
        unread = next((at for at, record in enumerate(waiting) if isinstance(record, UnreadBatch)), len(waiting))
        size = min(size, unread + 1)  # one is the last of its list
        batch, waiting[:] = waiting[:size], waiting[size:]
        queue.put(batch)
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
    while not task.done() and (work.ticked_to is None or work.is_busy):
        await asyncio.sleep(0)
    work.close()
    await task


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("fail_at", [*STEPS, "never"])
def test_invariant_6_any_failure_leaves_every_record_applied_once_or_dead_lettered(seed: int, fail_at: str) -> None:
    chance = random.Random(seed)
    source, side = feed(chance, "in", 300), feed(chance, "side", 30)
    log = MemoryLog()

    async def lives() -> int:
        deaths = 0
        for count in range(1, 60):
            try:
                await run_once(log, source, side, fail_at, 1 + count % 4, chance)
            except InjectedError:
                deaths += 1
                continue
            return deaths
        raise AssertionError("never came to the end")

    deaths = asyncio.run(lives())
    state, outputs = fold(source, side)
    assert (deaths > 0) == (fail_at != "never")
    assert [(row.key, b"bad" if row.topic.endswith(".dlq") else row.value) for row in log.outputs] == outputs
    assert {key: value for key, value in log.state.items() if not key.startswith(b"\0")} == state
    assert (marker(log, MARKER), marker(log, MERGED_MARKER)) == (len(source) - 1, len(side) - 1)


def with_unread(chance: random.Random, topic: str, records: list[Record]) -> list[Record]:
    """The records with batches in between that cannot be read."""
    mixed: list[Record] = []
    for record in records:
        while chance.random() < 0.1:
            offset = len(mixed)
            mixed.append(UnreadBatch(topic, 0, offset, offset, BATCH, ValueError("bomb")))
        mixed.append(record._replace(offset=len(mixed)))  # type: ignore[attr-defined]
    return mixed


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("fail_at", ["sent", "committed", "never"])
def test_invariant_6_holds_for_batches_that_cannot_be_read(seed: int, fail_at: str) -> None:
    chance = random.Random(seed)
    plain = feed(chance, "in", 300), feed(chance, "side", 30)
    source, side = (with_unread(chance, topic, records) for topic, records in zip(("in", "side"), plain, strict=True))
    log = MemoryLog()

    async def lives() -> None:
        for count in range(1, 60):
            try:
                return await run_once(log, source, side, fail_at, 1 + count % 4, chance)
            except InjectedError:
                continue
        raise AssertionError("never came to the end")

    asyncio.run(lives())
    letters = [row for row in log.outputs if row.value == BATCH]
    wanted = Counter(record.topic for record in (*source, *side) if isinstance(record, UnreadBatch))
    assert Counter(row.topic.removesuffix(".dlq") for row in letters) == wanted
    assert len({(row.topic, dict(row.headers)["source.offset"]) for row in letters}) == len(letters) > 10
    others = [row for row in log.outputs if row.value != BATCH]
    assert [(row.key, b"bad" if row.topic.endswith(".dlq") else row.value) for row in others] == fold(*plain)[1]
    assert (marker(log, MARKER), marker(log, MERGED_MARKER)) == (len(source) - 1, len(side) - 1)


@pytest.mark.parametrize(("age_ms", "commits"), [(0, 1), (-5_000, 1), (3_600_000, 0)])
def test_a_unit_gathers_no_longer_than_its_first_record_is_old(age_ms: int, commits: int) -> None:
    """The source has more all the time, as where connections come faster than fetches end."""
    log, now = MemoryLog(), 1_800_000_000_000
    config = PartitionConfig(Cluster(""), "app", "group", "in", "side", "changelog", gather_seconds=3600)
    transactions: Any = FakeTransactions(log, Fail("never", 1))
    queue, side_input = RecordQueue(10_000, 1 << 30), MemoryInput([])
    inputs = PartitionInputs(queue, side_input, lambda: False)  # type: ignore[arg-type]
    queue.put([FakeRecord("in", 0, now - age_ms, b"1", b"v", ())])

    async def scenario() -> int:
        work = ProcessingLoop(
            config, 0, inputs, transactions, log.restored(), Counting(), never_fail, now_ms=lambda: now
        )
        task = asyncio.create_task(work.run())
        for _ in range(100):
            await asyncio.sleep(0)
        found = work.commits
        work.close()
        await task
        return found

    assert asyncio.run(scenario()) == commits
    assert log.state[b"1"] == b"1"


def test_a_unit_that_takes_long_to_decide_is_full() -> None:
    config = PartitionConfig(Cluster(""), "app", "group", "in", "side", "changelog")
    unit = UnitOfWork(config, 0, MemoryStore(), {})
    unit.deciding.seconds = config.unit_seconds * 0.9
    assert not unit.is_full
    unit.deciding.seconds = config.unit_seconds
    assert unit.is_full


def test_what_waits_while_a_unit_commits_becomes_one_unit() -> None:
    records = [FakeRecord("in", offset, offset, b"k", b"v", ()) for offset in range(100)]
    log = MemoryLog()

    async def scenario() -> None:
        config = PartitionConfig(Cluster(""), "app", "group", "in", "side", "changelog", tick_seconds=3600)
        transactions: Any = FakeTransactions(log)
        queue = RecordQueue(10_000, 1 << 30)
        side: Any = MemoryInput()
        work = ProcessingLoop(
            config, 0, PartitionInputs(queue, side, lambda: False), transactions, MemoryStore(), Counting(), never_fail
        )
        task = asyncio.create_task(work.run())
        queue.put(records[:1])
        while not log.units and not work.is_busy:
            await asyncio.sleep(0)
        for record in records[1:]:
            queue.put([record])
        while marker(log, MARKER) < 99:
            await asyncio.sleep(0)
        work.close()
        await task

    asyncio.run(scenario())
    assert sum(log.units) == 100
    assert len(log.units) <= 3


def test_what_is_put_off_and_records_take_turns() -> None:
    class PuttingOff(Counting):
        """Has `left` things to do that were put off, one at each tick."""

        left = 40

        def on_tick(self, view: StateView, moment: int, limit: int) -> bool:
            if self.left:
                self.left -= 1
                view.emit(Output("out", b"put off", b"%d" % self.left))
            return self.left > 0

        def tick_moment(self, is_caught_up: bool) -> int | None:
            return 0

    records = [FakeRecord("in", offset, offset, b"k", b"v", ()) for offset in range(20 * SLICE_RECORDS)]
    log = MemoryLog()

    async def scenario() -> None:
        config = PartitionConfig(Cluster(""), "app", "group", "in", "side", "changelog", tick_seconds=3600)
        transactions: Any = FakeTransactions(log)
        queue = RecordQueue(100_000, 1 << 30)
        queue.put(records)
        side: Any = MemoryInput()
        processor = PuttingOff()
        work = ProcessingLoop(
            config, 0, PartitionInputs(queue, side, lambda: True), transactions, MemoryStore(), processor, never_fail
        )
        task = asyncio.create_task(work.run())
        while marker(log, MARKER) < len(records) - 1 or processor.left or work.is_busy:
            await asyncio.sleep(0)
        work.close()
        await task

    asyncio.run(scenario())
    kinds = [row.key for row in log.outputs]
    places = [at for at, key in enumerate(kinds) if key == b"put off"]
    assert len(places) == 40
    # Never more than a slice of the one between two of the other, as long as both wait.
    assert places[:20] == [turn * (SLICE_RECORDS + 1) for turn in range(20)]
    assert len(kinds) == len(records) + 40


def test_closing_commits_what_is_in_work() -> None:
    log = MemoryLog()

    async def scenario() -> None:
        config = PartitionConfig(Cluster(""), "app", "group", "in", "side", "changelog", tick_seconds=3600)
        transactions: Any = FakeTransactions(log)
        queue = RecordQueue(10_000, 1 << 30)
        side: Any = MemoryInput()
        work = ProcessingLoop(
            config, 0, PartitionInputs(queue, side, lambda: False), transactions, MemoryStore(), Counting(), never_fail
        )
        task = asyncio.create_task(work.run())
        queue.put([FakeRecord("in", 0, 0, b"k", b"v", ())])
        while not work.is_busy:
            await asyncio.sleep(0)
        work.close()
        await task

    asyncio.run(scenario())
    assert log.state == {b"k": b"1", MARKER: b"0"}


def test_a_processor_that_stops_without_a_reason_ends_the_writer() -> None:
    class Lazy(Counting):
        def on_records(self, view: StateView, records: Sequence[Record], before: int | None) -> int:
            return 0

    async def scenario() -> None:
        config = PartitionConfig(Cluster(""), "app", "group", "in", "side", "changelog")
        transactions: Any = FakeTransactions(MemoryLog())
        queue = RecordQueue(10, 1 << 20)
        queue.put([FakeRecord("in", 0, 0, b"k", b"v", ())])
        side: Any = MemoryInput()
        await ProcessingLoop(
            config, 0, PartitionInputs(queue, side, lambda: False), transactions, MemoryStore(), Lazy(), never_fail
        ).run()

    with pytest.raises(RuntimeError, match="offset 0 although the view is not full"):
        asyncio.run(scenario())


def test_a_changelog_that_goes_back_stops_the_writer() -> None:
    store = MemoryStore()
    store.write({POSITION: b"500"})

    async def scenario() -> None:
        config = PartitionConfig(Cluster(""), "app", "group", "in", "side", "changelog")
        transactions: Any = FakeTransactions(MemoryLog())
        queue = RecordQueue(10, 1 << 20)
        queue.put([FakeRecord("in", 0, 0, b"k", b"v", ())])
        side: Any = MemoryInput()
        await ProcessingLoop(
            config, 0, PartitionInputs(queue, side, lambda: False), transactions, store, Counting(), never_fail
        ).run()

    with pytest.raises(
        DependencyError, match="changelog-0: position went back from 500 to 2: topic deleted while in use"
    ):
        asyncio.run(scenario())
    assert dict(store.scan(b"", b"\xff")) == {POSITION: b"500"}


def test_a_queue_has_no_room_above_its_bounds() -> None:
    async def scenario() -> list[bool]:
        queue = RecordQueue(3, 100)
        found = [queue.has_capacity]
        queue.put([FakeRecord("in", at, at, b"k", b"v", ()) for at in range(3)])
        found.append(queue.has_capacity)
        queue.drop(1)
        found.append(queue.has_capacity)
        queue.put([FakeRecord("in", 3, 3, b"k", b"v" * 100, ())])
        found.append(queue.has_capacity)
        queue.drop(2)
        queue.drop(1)
        return [*found, queue.has_capacity, queue.is_empty]

    assert asyncio.run(scenario()) == [True, False, True, False, True, True]
