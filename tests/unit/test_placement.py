"""A record in another partition than its key's is a dead letter that names both, at no cost for each record."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from streams.domain.policy.rulebook import Rulebook
from streams.domain.time import HOUR_MS, MINUTE_MS
from streams.engine.partition.placement import MisplacedRecordError, Placement
from streams.engine.partition.view import StateView
from streams.kafka.partitioner import kafka_partition
from streams.kafka.topics import TOPICS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.settings.worker import Settings
from streams.testing import FakeRecord, MemoryStore
from streams.wire.codec import AvroCodec
from streams.wire.fast_headers import fast_headers
from streams.wire.records import command_record, connection_record
from streams.wire.registry import LocalRegistry
from streams.worker.processor import InputProcessor
from streams.worker.wiring import record_channels
from tests.support.feeds import START
from tests.support.live import line, pause

PARTITIONS = 12
COMMANDS_TOPIC = TOPICS["admin_command"]
WIRES, HEADER = record_channels(Settings()), fast_headers(LocalRegistry())
CONNECTIONS, COMMANDS = AvroCodec("inbound_connection", LocalRegistry()), AvroCodec("admin_command", LocalRegistry())


@pytest.mark.parametrize(
    ("key", "digest"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_partition_is_that_of_javas_client(key: bytes, digest: int) -> None:
    """Digests from the tests of Kafka's own client."""
    assert kafka_partition(key, 997) == (digest & 0x7FFFFFFF) % 997


def test_a_misplaced_key_names_both_partitions_and_the_partitioner_to_set() -> None:
    key = b"contoso"
    crc, murmur = zlib.crc32(key) % PARTITIONS, kafka_partition(key, PARTITIONS)
    assert crc != murmur
    Placement(murmur, PARTITIONS).check(key)
    with pytest.raises(MisplacedRecordError) as caught:
        Placement(crc, PARTITIONS).check(key)
    assert str(caught.value) == (
        f"partition: {crc} of 12 as librdkafka's default (CRC32) has it: key 'contoso' belongs in "
        f"partition {murmur}, where Kafka's default partitioner (murmur2) puts it: set "
        "partitioner=murmur2_random in a producer of librdkafka, murmur2 of the key in any other"
    )
    other = next(number for number in range(PARTITIONS) if number not in (crc, murmur))
    with pytest.raises(MisplacedRecordError, match=f"partition: {other} of 12: key"):
        Placement(other, PARTITIONS).check(key)


def run(processor: InputProcessor, store: MemoryStore, *records: FakeRecord) -> Any:
    """One unit of work, for records of one topic; gives its view."""
    view = StateView(store)
    processor.begin(view)
    processor.on_tick(view, 0, 100)
    assert processor.on_records(view, list(records), None) == len(records)
    processor.finish(view)
    store.write(view.changes)
    return view


def processor_of(partition: int | None) -> InputProcessor:
    rulebook = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
    placed = None if partition is None else Placement(partition, PARTITIONS)
    return InputProcessor(lambda: rulebook, WIRES, HEADER, START + 9 * HOUR_MS, placement=placed)


def connection(offset: int, server: int, at: int) -> FakeRecord:
    value = CONNECTIONS.encode(connection_record(line(server, at)))
    return FakeRecord(WIRES.connections_topic, offset, 0, b"tenant-%d" % (server % 5), value)


def test_connections_and_commands_of_another_partition_are_dead_letters_and_leave_no_state() -> None:
    home = kafka_partition(b"tenant-1", PARTITIONS)
    assert kafka_partition(b"tenant-2", PARTITIONS) != home
    processor, store = processor_of(home), MemoryStore()
    view = run(processor, store, connection(0, 1, START), connection(1, 2, START), connection(2, 6, START))
    assert view.rejected == 1
    (letter,) = (output for output in view.outputs if output.topic.endswith(".dlq"))
    assert letter.key == b"tenant-2"
    assert b"MisplacedRecordError: partition: " in dict(letter.headers)["error"]
    assert {key for key, _ in store.scan(b"s/", b"s0")} == {
        b"s/tenant-1/mx1.example.com",
        b"s/tenant-1/mx6.example.com",
    }
    commands = [
        FakeRecord(COMMANDS_TOPIC, number, 0, b"tenant-%d" % number, COMMANDS.encode(command_record(pause(number))))
        for number in (1, 2)
    ]
    view = run(processor, store, *commands)
    assert [output.key for output in view.outputs if output.topic == WIRES.audit_topic] == [b"tenant-1"]
    assert [output.key for output in view.outputs if output.topic.endswith(".dlq")] == [b"tenant-2"]


def test_what_is_malformed_is_told_as_such_first() -> None:
    processor = processor_of((kafka_partition(b"tenant-2", PARTITIONS) + 1) % PARTITIONS)
    view = run(processor, MemoryStore(), connection(0, 2, START)._replace(key=b"tenant-3"))
    (letter,) = view.outputs
    assert b"MalformedError" in dict(letter.headers)["error"]


def test_state_of_a_misplaced_tenant_from_before_takes_no_more_records() -> None:
    store = MemoryStore()
    run(processor_of(None), store, connection(0, 2, START))
    rows = dict(store.scan(b"s/", b"s0"))
    assert len(rows) == 1
    processor = processor_of((kafka_partition(b"tenant-2", PARTITIONS) + 1) % PARTITIONS)
    view = run(processor, store, *(connection(at, 2, START + at * MINUTE_MS) for at in range(1, 4)))
    assert view.rejected == 3
    assert dict(store.scan(b"s/", b"s0")) == rows
