"""What the doctor finds: every fault by its place, with the page that explains it; and nothing where all is well."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.cli.simulate import read_connection
from streams.domain.outputs.progress import PartitionProgress
from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kafka.partitioner import kafka_partition
from streams.operations.doctor.findings import Finding, State
from streams.operations.doctor.inputs import examine_connections, look_at_connections
from streams.operations.doctor.workers import examine_lag, examine_signs
from streams.testing import FakeRecord
from streams.wire.codec import AvroCodec
from streams.wire.records import to_record
from streams.wire.registry import LocalRegistry, RegistryError
from tests.support.hanging_registry import HangingRegistry
from tests.support.live import line

NOW = 1_800_000_000_000
CODEC = AvroCodec("inbound_connection", LocalRegistry())
PARTITIONS = 4
ROOT = Path(__file__).parents[2]


@dataclass
class Stored:
    """A connection as it lies on its topic, with the broker's time."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    timestamp_type: int = 1


def stored(**changed: Any) -> Stored:
    row = to_record(read_connection(line(1, NOW - 1000)))
    key = row["tenant_id"].encode()
    fields = {"key": key, "value": CODEC.encode(row), "timestamp": NOW - 500, "offset": 7}
    fields |= {"partition": kafka_partition(key, PARTITIONS)} | changed
    return Stored(**fields)


async def coming(*records: Stored) -> AsyncIterator[Stored]:
    for record in records:
        yield record


def found_in(*records: Stored, now: int = NOW) -> dict[str, Finding]:
    seen = asyncio.run(look_at_connections(coming(*records), PARTITIONS, CODEC))
    return by_check(examine_connections(seen, now))


def by_check(findings: Iterable[Finding]) -> dict[str, Finding]:
    rows = list(findings)
    for row in rows:
        assert (row.state is State.OK) == (not row.page)
        assert not row.page or (ROOT / row.page).is_file()
    return {row.check: row for row in rows}


def test_sound_connections_are_well() -> None:
    found = found_in(stored(), stored(offset=8))
    assert {row.state for row in found.values()} == {State.OK}
    assert set(found) == {"connections", "partitioner", "schemas of connections", "clocks of producers"}


def test_no_connection_and_none_lately_are_told() -> None:
    assert found_in()["connections"].state is State.WARNING
    quiet = found_in(stored(), now=NOW + 2 * HOUR_MS)["connections"]
    assert (quiet.state, quiet.text) == (State.WARNING, "none has come in since 2027-01-15T07:59:59.500Z")


@pytest.mark.parametrize(("key", "said"), [(None, "has no key"), (b"nobody\x1b", "has the key b'nobody\\x1b'")])
def test_a_record_in_a_wrong_partition_is_named(key: bytes | None, said: str) -> None:
    partition = 0 if key is None else (kafka_partition(key, PARTITIONS) + 1) % PARTITIONS
    found = found_in(stored(), stored(offset=9, partition=partition, key=key))["partitioner"]
    assert found.state is State.PROBLEM
    assert found.text.startswith("1 of the last 2 connections are in a wrong partition: ")
    assert f"offset 9 of partition {partition} {said}" in found.text


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "no value"), (b"{}", "first byte is 0x7b"), (b"\0\0\0\x27\x0f" + b"x" * 9, "unknown schema id 9999")],
)
def test_a_record_that_cannot_be_read_is_named(value: bytes | None, said: str) -> None:
    found = found_in(stored(), stored(offset=9, value=value))["schemas of connections"]
    assert found.state is State.PROBLEM
    assert said in found.text
    assert "offset 9 of" in found.text


@pytest.mark.parametrize(
    ("timestamp", "state"),
    [
        (NOW - 1000 - 5_000, State.OK),
        (NOW - 1000 - 5_001, State.WARNING),
        (NOW - 1000 - 5 * MINUTE_MS - 1, State.PROBLEM),
    ],
)
def test_a_producer_whose_clock_is_ahead_of_the_brokers_is_named(timestamp: int, state: State) -> None:
    found = found_in(stored(), stored(offset=9, timestamp=timestamp))["clocks of producers"]
    assert found.state is state
    assert state is State.OK or "offset 9 of" in found.text


def test_a_producers_own_time_proves_nothing_of_clocks() -> None:
    assert "clocks of producers" not in found_in(stored(timestamp=NOW - HOUR_MS, timestamp_type=0))


def test_a_machine_that_is_behind_the_brokers_is_told() -> None:
    assert found_in(stored(), now=NOW - MINUTE_MS)["own clock"].state is State.WARNING


def test_a_connection_that_was_looked_at_is_not_kept() -> None:
    given = list[weakref.ref[Stored]]()

    async def many() -> AsyncIterator[Stored]:
        for offset in range(50):
            record = stored(offset=offset)
            given.append(weakref.ref(record))
            yield record
            # This one, and the one in the hands of who looks.
            assert sum(one() is not None for one in given) <= 2

    assert len(asyncio.run(look_at_connections(many(), PARTITIONS, CODEC))) == 50


def test_a_registry_that_does_not_answer_keeps_nothing_else_waiting() -> None:
    async def scenario() -> None:
        registry = HangingRegistry(asyncio.get_running_loop())
        codec = AvroCodec("inbound_connection", registry)
        looking = asyncio.create_task(look_at_connections(coming(stored()), PARTITIONS, codec))
        await registry.is_asked.wait()
        assert registry.is_hanging
        registry.may_answer.set()
        with pytest.raises(RegistryError, match="made up"):
            await looking

    asyncio.run(scenario())


# --- workers ---


def sign(partition: int, policy_version: int = 1, wall_clock: int = NOW) -> PartitionProgress:
    return PartitionProgress(partition, NOW, wall_clock, "p", policy_version, "1", "tes")


def signs_of(*rows: PartitionProgress, at: int = NOW) -> dict[int, tuple[PartitionProgress, int]]:
    return {row.partition: (row, at) for row in rows}


def test_workers_that_live_are_well() -> None:
    found = by_check(examine_signs(signs_of(sign(0), sign(1)), 2, 1, lambda _: "p/1", NOW))
    assert {name: row.state for name, row in found.items()} == dict.fromkeys(
        ("workers", "signs of life", "policy in force"), State.OK
    )


def test_workers_that_are_gone_silent_or_differ_are_told() -> None:
    gone = by_check(examine_signs({}, 2, 0, lambda _: "p/1", NOW))
    assert (gone["workers"].state, gone["signs of life"].state) == (State.PROBLEM, State.PROBLEM)
    assert "2 of 2 partitions: the worker of partition 0 never gave" in gone["signs of life"].text
    late = signs_of(sign(0), at=NOW - 4 * MINUTE_MS) | signs_of(sign(1))
    assert "1 of 2 partitions" in by_check(examine_signs(late, 2, 1, lambda _: "p/1", NOW))["signs of life"].text
    differ = signs_of(sign(0), sign(1, policy_version=2))
    policy = by_check(examine_signs(differ, 2, 1, lambda _: "p/1", NOW))["policy in force"]
    assert (policy.state, policy.text) == (State.PROBLEM, "workers decide by different ones: p/1, p/2")
    other = by_check(examine_signs(signs_of(sign(0)), 1, 1, lambda _: "q/3", NOW))["policy in force"]
    assert (other.state, other.text) == (State.WARNING, "workers decide by p/1, and these settings say q/3")
    skewed = by_check(examine_signs(signs_of(sign(0, wall_clock=NOW - HOUR_MS)), 1, 1, lambda _: "p/1", NOW))
    assert skewed["clocks of workers"].state is State.WARNING


def test_a_sign_from_before_a_switch_is_compared_with_the_policy_of_then() -> None:
    signs = signs_of(sign(0, wall_clock=NOW - MINUTE_MS), sign(1, policy_version=2))
    switched = NOW - 1000
    found = by_check(examine_signs(signs, 2, 1, lambda at: "p/2" if at >= switched else "p/1", NOW))
    assert (found["policy in force"].state, found["policy in force"].text) == (State.OK, "p/2")
    late = signs_of(sign(0), sign(1, policy_version=2))
    found = by_check(examine_signs(late, 2, 1, lambda at: "p/2" if at >= switched else "p/1", NOW))
    assert found["policy in force"].state is State.PROBLEM


def test_what_waits_is_a_problem_once_it_is_late() -> None:
    place = TopicPartition("in", 0)
    assert by_check(examine_lag({}, [], NOW))["lag"].text == "nothing waits"
    for age, state in ((MINUTE_MS, State.OK), (DAY_MS, State.PROBLEM)):
        record = FakeRecord("in", 5, NOW - age, b"k", b"v", ())
        found = by_check(examine_lag({place: 12}, [record], NOW))["lag"]
        assert found.state is state
        assert found.text.startswith("12 records wait, the oldest since 20")


def test_a_time_that_no_calendar_has_is_told_as_it_is() -> None:
    record = FakeRecord("in", 5, -(1 << 62), b"k", b"v", ())
    assert str(-(1 << 62)) in by_check(examine_lag({TopicPartition("in", 0): 1}, [record], NOW))["lag"].text
    assert str(1 << 62) in found_in(stored(timestamp=1 << 62, timestamp_type=0))["connections"].text
