"""Which partitions a worker fetches next, by what their owner says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from faust.types import TP

from streams.engine.faust.fetch_schedule import BATCHES_IN_DELIVERY, BUSY_WAIT_SECONDS, FETCH_WAIT_MS, FetchSchedule

SOURCE, OTHER = "in", "internal"
FIRST, SECOND, INTERNAL = TP(SOURCE, 0), TP(SOURCE, 1), TP(OTHER, 0)
FULL = 2
"""Records of a full fetch."""


class FakeOwner:
    """Has capacity for the partitions in `free`, and needs `offsets` next."""

    accepts_gaps = False

    def __init__(self, *free: int) -> None:
        self.source, self.generation = SOURCE, 1
        self.free = set(free)
        self.offsets: dict[int, int] = {0: 7, 1: 9}
        self.notified: list[int] = []

    def has_capacity(self, partition: int) -> bool:
        return partition in self.free

    def next_offset(self, partition: int) -> int | None:
        return self.offsets.get(partition)

    def notify(self, partition: int) -> None:
        self.notified.append(partition)

    async def acquire(self, partitions: set[int]) -> None:
        self.free = set(partitions)

    async def release(self) -> None:
        self.free = set()

    def fail(self, error: BaseException) -> None:
        raise error


class FakeClient:
    """Serves one partition a fetch, the lowest that has records and was asked for, as aiokafka may."""

    def __init__(self, **records: list[Any]) -> None:
        self.records = {TP(SOURCE, int(name[1:])): list(items) for name, items in records.items()}
        self.places: dict[int, tuple[int, int]] = {}
        self.asked: list[tuple[set[TP], float]] = []
        self.seeks: list[tuple[TP, int]] = []
        self.on_seek: Callable[[], None] = lambda: None

    async def fetch(self, partitions: set[TP], seconds: float) -> dict[TP, list[Any]]:
        self.asked.append((partitions, seconds))
        for tp in sorted(partitions):
            if batch := self.records.get(tp, [])[:FULL]:
                del self.records[tp][:FULL]
                return {tp: batch}
        return {}

    async def seek_to(self, tp: TP, offset: int) -> None:
        self.seeks.append((tp, offset))
        self.on_seek()

    def position_and_end(self, partition: int) -> tuple[int, int] | None:
        return self.places.get(partition)


def fetch(schedule: FetchSchedule, *active: TP) -> dict[TP, list[Any]]:
    return asyncio.run(schedule.fetch(set(active)))


def test_a_partition_is_sought_once_to_the_offset_that_its_owner_needs() -> None:
    client = FakeClient(p0=[1, 2, 3])
    schedule = FetchSchedule(FakeOwner(0), client, FULL)
    assert fetch(schedule, FIRST) == {FIRST: [1, 2]}
    assert fetch(schedule, FIRST) == {FIRST: [3]}
    assert client.seeks == [(FIRST, 7)]
    schedule.forget_positions()
    assert not schedule.is_seeked(FIRST)
    fetch(schedule, FIRST)
    assert client.seeks == [(FIRST, 7)] * 2


def test_a_partition_without_capacity_is_not_fetched_and_looked_at_again_soon() -> None:
    owner, client = FakeOwner(1), FakeClient(p0=[1], p1=[2])
    schedule = FetchSchedule(owner, client, FULL)
    assert fetch(schedule, FIRST, SECOND) == {SECOND: [2]}
    owner.free = {0, 1}
    fetch(schedule, FIRST, SECOND)
    assert client.asked == [({SECOND}, BUSY_WAIT_SECONDS), ({FIRST, SECOND}, FETCH_WAIT_MS / 1000)]


def test_nothing_is_fetched_while_nobody_has_capacity() -> None:
    client = FakeClient(p0=[1])
    assert fetch(FetchSchedule(FakeOwner(), client, FULL), FIRST) == {}
    assert not client.asked


def test_other_topics_are_always_fetched_and_never_sought() -> None:
    client = FakeClient()
    fetch(FetchSchedule(FakeOwner(), client, FULL), INTERNAL)
    assert client.asked == [({INTERNAL}, FETCH_WAIT_MS / 1000)]
    assert not client.seeks


def test_a_partition_waits_while_too_many_of_its_batches_are_in_delivery() -> None:
    client = FakeClient(p0=list(range(20)))
    schedule = FetchSchedule(FakeOwner(0), client, 100)
    for _ in range(BATCHES_IN_DELIVERY):
        assert fetch(schedule, FIRST)
    assert fetch(schedule, FIRST) == {}
    schedule.delivered(0)
    assert fetch(schedule, FIRST)


def test_after_a_full_fetch_of_one_partition_the_others_get_their_turn() -> None:
    client = FakeClient(p0=[1, 2, 3, 4], p1=[5, 6])
    schedule = FetchSchedule(FakeOwner(0, 1), client, FULL)
    assert [set(fetch(schedule, FIRST, SECOND)) for _ in range(3)] == [{FIRST}, {SECOND}, {FIRST}]


def test_a_partition_is_caught_up_when_its_owner_has_all_up_to_the_end() -> None:
    owner, client = FakeOwner(0), FakeClient(p0=[1, 2])
    schedule = FetchSchedule(owner, client, FULL)
    client.places[0] = (9, 9)
    fetch(schedule, FIRST)
    assert not schedule.is_caught_up(0)
    schedule.delivered(0)
    assert schedule.is_caught_up(0)
    assert owner.notified == [0]
    # A broker that has just come back tells of an earlier end; the later one still counts.
    client.places[0] = (8, 8)
    fetch(schedule, FIRST)
    assert not schedule.is_caught_up(0)
    assert owner.notified == [0, 0]


def test_a_partition_that_is_revoked_while_it_is_sought_is_not_fetched() -> None:
    client = FakeClient(p0=[1])
    schedule = FetchSchedule(FakeOwner(0), client, FULL)
    client.on_seek = schedule.forget_positions
    assert fetch(schedule, FIRST) == {}
    assert not client.asked
