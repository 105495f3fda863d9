"""A worker's signs of life: with a unit that commits anyway, alone when nothing happens, and none where it stalls."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

import pytest

from streams.domain.outputs.progress import PartitionProgress
from streams.domain.policy.rulebook import Rulebook
from streams.domain.validation import MalformedError
from streams.engine.config import PartitionConfig
from streams.engine.partition.loop import ProcessingLoop
from streams.engine.partition.queues import PartitionInputs, RecordQueue
from streams.engine.partition.view import StateView
from streams.engine.ports import Output
from streams.engine.telemetry import SILENT
from streams.kafka.cluster import Cluster
from streams.settings.worker import Settings
from streams.testing import (
    FakeRecord,
    FakeTransactions,
    ManualClock,
    MemoryInput,
    MemoryLog,
    MemoryStore,
    never_fail,
)
from streams.wire.codec import AvroCodec
from streams.wire.progress import progress_of
from streams.wire.records import to_record
from streams.worker.processor import InputProcessor
from streams.worker.progress import ALONE_SECONDS, SHARED_SECONDS, SignsOfLife
from streams.worker.wiring import processors
from tests.support.partition import CONNECTIONS, HEADER, REGISTRY, RULEBOOK, START, TENANT, WIRES, connection

TOPIC = "enforcement.progress.v1"
CODEC = AvroCodec("partition_progress", REGISTRY)
NOW = START + 5_000


def signs_in(outputs: list[Output]) -> list[PartitionProgress]:
    return [progress_of(CODEC.decode(output.value)) for output in outputs if output.topic == TOPIC]


class Worker:
    """A partition's processor that gives signs, and its clocks."""

    def __init__(self, rulebook: Rulebook = RULEBOOK) -> None:
        self.clock, self.now = ManualClock(1_000.0), NOW
        signs = SignsOfLife(TOPIC, CODEC, "tes", "9.9", lambda: self.now, self.clock)
        self.processor = InputProcessor(lambda: rulebook, WIRES, HEADER, None, lambda: self.now, signs=signs)
        self.store = MemoryStore()
        self._count = 0

    def unit(self, *records: dict[str, Any], partition: int = 3, is_caught_up: bool = True) -> list[Output]:
        """One unit of work; gives its outputs."""
        view = StateView(self.store, partition=partition)
        self.processor.begin(view)
        self.processor.on_tick(view, self.processor.tick_moment(is_caught_up) or 0, 100)
        for record in records:
            given = FakeRecord(WIRES.connections_topic, self._count, 0, TENANT.encode(), CONNECTIONS.encode(record))
            assert self.processor.on_records(view, [given], None) == 1
            self._count += 1
        self.processor.finish(view)
        self.store.write(view.changes)
        return view.outputs


# --- what a sign says ---


def test_the_first_unit_has_a_sign_of_its_partition_and_no_stream_time() -> None:
    (output,) = Worker().unit()
    assert (output.topic, output.key) == (TOPIC, b"3")
    assert progress_of(CODEC.decode(output.value)) == PartitionProgress(
        3, None, NOW, "microsoft-2026-09", 1, "9.9", "tes"
    )


def test_a_sign_says_up_to_which_moment_the_stream_has_come() -> None:
    worker = Worker()
    (sign,) = signs_in(worker.unit(connection(70), connection(30)))
    assert sign.stream_time == START + 70


# --- when there is one ---


def test_a_unit_that_commits_anyway_takes_one_along_when_the_last_is_twenty_seconds_old() -> None:
    worker = Worker()
    assert len(signs_in(worker.unit(connection(1)))) == 1
    worker.clock.advance(SHARED_SECONDS - 0.1)
    assert not signs_in(worker.unit(connection(2)))
    worker.clock.advance(0.1)
    assert not worker.unit()  # nothing else to commit
    assert len(signs_in(worker.unit(connection(3)))) == 1
    assert not signs_in(worker.unit(connection(4)))


def test_a_unit_without_work_gets_one_before_a_minute_is_over() -> None:
    worker = Worker()
    worker.unit()
    worker.clock.advance(ALONE_SECONDS - 0.1)
    assert not worker.unit()
    worker.clock.advance(0.1)
    assert len(signs_in(worker.unit())) == 1
    assert not worker.unit()
    assert ALONE_SECONDS < 60


def test_a_partition_that_gets_nothing_of_what_there_is_gives_no_sign() -> None:
    worker = Worker()
    worker.unit(connection(1))
    for _ in range(10):
        worker.clock.advance(ALONE_SECONDS)
        assert not worker.unit(is_caught_up=False)
    assert len(signs_in(worker.unit(connection(2), is_caught_up=False))) == 1


def test_records_that_change_nothing_are_work_too() -> None:
    worker = Worker()
    worker.unit(connection(1))
    for _ in range(3):
        worker.clock.advance(SHARED_SECONDS)
        assert len(worker.unit(connection(1), is_caught_up=False)) == 1


def test_a_clock_that_is_set_back_stops_no_signs() -> None:
    worker = Worker()
    worker.unit()
    worker.now -= 3_600_000
    worker.clock.advance(ALONE_SECONDS)
    (sign,) = signs_in(worker.unit())
    assert sign.wall_clock == NOW - 3_600_000


def test_an_idle_partition_commits_a_unit_for_each_sign_and_none_else() -> None:
    worker, log = Worker(), MemoryLog()

    async def scenario() -> None:
        config = PartitionConfig(Cluster(""), "app", "group", "in", "side", "changelog", tick_seconds=0)
        inputs: Any = PartitionInputs(RecordQueue(10, 1 << 20), MemoryInput(), lambda: True)  # type: ignore[arg-type]
        transactions: Any = FakeTransactions(log)
        loop = ProcessingLoop(config, 0, inputs, transactions, worker.store, worker.processor, never_fail)
        task = asyncio.create_task(loop.run())
        for minute in range(1, 5):
            while len(log.units) < minute:
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(log.units) == minute
            worker.clock.advance(ALONE_SECONDS)
        assert loop.commits == 1  # the first, which took the policies over; a watchdog sees no progress in the others
        loop.close()
        await task

    asyncio.run(scenario())
    assert len(signs_in(log.outputs)) == len(log.outputs)
    assert not log.done
    assert {sign.partition for sign in signs_in(log.outputs)} == {0}


# --- who gives signs ---


def unit_of_worker(settings: Settings) -> list[Output]:
    processor = processors(settings, lambda: RULEBOOK, SILENT)(1, 2)
    view = StateView(MemoryStore(), partition=1)
    processor.begin(view)
    processor.on_tick(view, processor.tick_moment(True) or 0, 100)
    processor.finish(view)
    return view.outputs


def test_a_live_worker_gives_signs_under_its_own_names() -> None:
    settings = Settings(app_id="blue", topic_prefix="p.")
    (output,) = unit_of_worker(settings)
    sign = progress_of(CODEC.decode(output.value))
    assert (output.topic, output.key) == (f"p.{TOPIC}", b"1")
    assert (sign.app_id, sign.worker_version, sign.partition) == ("blue", version("tes"), 1)


def test_a_replay_gives_none() -> None:
    assert not unit_of_worker(Settings(replay_until="2026-10-02T00:00:00Z"))


# --- reading ---


@pytest.mark.parametrize(
    ("name", "value"),
    [("partition", -1), ("wall_clock", 0), ("wall_clock", 2**62), ("stream_time", -1), ("stream_time", 2**62)],
)
def test_a_sign_that_no_worker_writes_is_malformed(name: str, value: int) -> None:
    record = to_record(PartitionProgress(3, NOW, NOW, "p", 1, "9.9"))
    assert progress_of(record).partition == 3
    with pytest.raises(MalformedError, match=rf"^{name}: {value}: must "):
        progress_of(record | {name: value})
