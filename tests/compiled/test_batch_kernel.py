"""The batch kernel against aiokafka's parser of batches, which it stands in for."""

from __future__ import annotations

import random
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kafka.batch_kernel import BatchRecord, read_batch
from streams.kafka.fetched import fetched_record

PLACE = TopicPartition("connections", 3)
FIELDS = ("topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers", "size", "checksum")
SIZES = ("serialized_key_size", "serialized_value_size")
TEXTS = st.one_of(st.none(), st.binary(max_size=200))
HEADERS = st.lists(st.tuples(st.text(max_size=5), TEXTS), min_size=1, max_size=2)
RECORDS = st.lists(st.tuples(st.integers(0, 2**40), TEXTS, TEXTS), min_size=1, max_size=12)


def batch_of(records: list[Any], base_offset: int = 7, is_log_append_time: bool = False, headers: Any = ()) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 22)
    for offset, (timestamp, key, value) in enumerate(records):
        assert builder.append(offset, timestamp, key, value, list(headers) if offset == len(records) - 1 else [])
    data = bytearray(builder.build())
    data[:8] = base_offset.to_bytes(8, "big")
    data[22] |= 8 * is_log_append_time
    return bytes(data)


def seen(record: Any) -> list[Any]:
    return [getattr(record, name) for name in (*FIELDS, *SIZES)]


def read(data: bytes, begin: int = 0, end: int | None = None) -> list[BatchRecord] | None:
    return read_batch(PLACE.topic, PLACE.partition, data, begin, len(data) if end is None else end)


def read_by_aiokafka(data: bytes) -> list[list[Any]]:
    return [seen(fetched_record(PLACE, raw)) for raw in DefaultRecordBatch(data)]


@settings(max_examples=300, deadline=None)
@given(RECORDS, st.integers(0, 2**62), st.booleans(), st.binary(max_size=20), st.binary(max_size=20))
def test_records_are_those_of_aiokafka(
    records: list[Any], base_offset: int, is_log_append_time: bool, before: bytes, behind: bytes
) -> None:
    data = batch_of(records, base_offset, is_log_append_time)
    found = read(before + data + behind, len(before), len(before) + len(data))
    assert found is not None
    assert [seen(record) for record in found] == read_by_aiokafka(data)
    assert all(fetched_record(PLACE, record) is record for record in found)


@given(RECORDS, HEADERS)
def test_a_batch_with_headers_is_left_to_aiokafka(records: list[Any], headers: Any) -> None:
    assert read(batch_of(records, headers=headers)) is None


@settings(max_examples=1_000, deadline=None)
@given(RECORDS, st.integers(0, 10**6))
def test_a_damaged_batch_is_left_or_read_as_aiokafka_reads_it(records: list[Any], seed: int) -> None:
    chance = random.Random(seed)
    damaged = bytearray(batch_of(records))
    for _ in range(chance.choice((1, 1, 3))):
        damaged[chance.randrange(61, len(damaged))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    data = bytes(damaged[: chance.choice((len(damaged), chance.randrange(61, len(damaged) + 1)))])
    found = read(data)
    if found is not None:
        assert [seen(record) for record in found] == read_by_aiokafka(data)


@pytest.mark.parametrize(("begin", "end"), [(-1, 70), (0, 60), (0, 10_000), (5, 3), (2**62, 2**62 + 100)])
def test_places_outside_of_the_data_are_left(begin: int, end: int) -> None:
    assert read(batch_of([(1, b"k", b"v" * 100)]), begin, end) is None


@pytest.mark.parametrize("base_offset", [2**63 - 1, 2**63 - 2])
def test_sums_that_are_too_large_are_those_of_aiokafka(base_offset: int) -> None:
    data = bytearray(batch_of([(0, b"k", b"v")] * 3, base_offset))
    data[27:35] = (2**63 - 1).to_bytes(8, "big")
    # The second record's moment, of a varint of one byte, follows its length and attributes.
    data[61 + data[61] // 2 + 3] = 4
    found = read(bytes(data))
    assert found is not None
    assert [seen(record) for record in found] == read_by_aiokafka(bytes(data))
