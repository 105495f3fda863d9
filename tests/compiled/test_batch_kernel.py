"""The batch kernel against aiokafka's parser of batches, which it stands in for."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kafka import unread
from streams.kafka.batch_kernel import BatchRecord, read_batch
from streams.kafka.fetched import FetchedRecord

PLACE = TopicPartition("connections", 3)
FIELDS = ("topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers", "size", "checksum")
SIZES = ("serialized_key_size", "serialized_value_size")
TEXTS = st.one_of(st.none(), st.binary(max_size=200))
HEADERS = st.lists(st.tuples(st.text(max_size=5), TEXTS), min_size=1, max_size=2)
RECORDS = st.lists(st.tuples(st.integers(0, 2**40), TEXTS, TEXTS), min_size=1, max_size=12)


def batch_of(
    records: list[Any], base_offset: int = 7, is_log_append_time: bool = False, headers: Any = (), codec: int = 0
) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 22)
    for offset, (timestamp, key, value) in enumerate(records):
        assert builder.append(offset, timestamp, key, value, list(headers) if offset == len(records) - 1 else [])
    data = bytearray(builder.build())
    data[:8] = base_offset.to_bytes(8, "big")
    data[22] |= 8 * is_log_append_time
    data[17:21] = calc_crc32c(bytes(data[21:])).to_bytes(4, "big")
    return bytes(data)


def seen(record: Any) -> list[Any]:
    return [getattr(record, name) for name in (*FIELDS, *SIZES)]


def read(data: bytes, begin: int = 0, end: int | None = None) -> list[BatchRecord] | None:
    return read_batch(PLACE.topic, PLACE.partition, data, begin, len(data) if end is None else end)


def read_by_aiokafka(data: bytes) -> list[list[Any]]:
    return [seen(FetchedRecord(PLACE.topic, PLACE.partition, raw)) for raw in DefaultRecordBatch(data)]


@settings(max_examples=300, deadline=None)
@given(RECORDS, st.integers(0, 2**62), st.booleans(), st.binary(max_size=20), st.binary(max_size=20))
def test_records_are_those_of_aiokafka(
    records: list[Any], base_offset: int, is_log_append_time: bool, before: bytes, behind: bytes
) -> None:
    data = batch_of(records, base_offset, is_log_append_time)
    found = read(before + data + behind, len(before), len(before) + len(data))
    assert found is not None
    assert [seen(record) for record in found] == read_by_aiokafka(data)


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


def test_a_moment_that_is_too_large_is_that_of_aiokafka() -> None:
    data = bytearray(batch_of([(0, b"k", b"v")] * 3))
    data[27:35] = (2**63 - 1).to_bytes(8, "big")
    # The second record's moment, of a varint of one byte, follows its length and attributes.
    data[61 + data[61] // 2 + 3] = 4
    found = read(bytes(data))
    assert found is not None
    assert [seen(record) for record in found] == read_by_aiokafka(bytes(data))


@pytest.mark.parametrize("delta", [0, 2, 4], ids=["lower", "the same", "higher"])
def test_offsets_that_do_not_rise_are_left_to_aiokafka(delta: int) -> None:
    data = bytearray(batch_of([(0, b"k", b"v")] * 3))
    record = data[61] // 2 + 1
    data[61 + 2 * record + 3] = delta  # of the third record; the second one's is 1, zigzag 2
    found = read(bytes(data))
    assert (found is None) == (delta <= 2)
    assert read(batch_of([(0, b"k", b"v")] * 3, 2**63 - 2)) is None


@dataclass
class Position:
    """Where a consumer is in its partition, as a fetch asks for it."""

    position: int
    paused: bool = False

    def consumed_to(self, position: int) -> None:
        self.position = position


def read_fetch(data: bytes, offset: int, lists: list[int | None], has_kernel: bool) -> list[tuple[list[Any], int]]:
    """What a consumer gets of a fetch, list by list (0: one record), and where it is behind each."""
    place = Position(offset)
    assignment = SimpleNamespace(active=True, state_value=lambda _: place)
    with pytest.MonkeyPatch.context() as patch:
        if not has_kernel:
            patch.setattr(unread, "read_plain_batch", lambda *_: None)
        records = fetcher.PartitionRecords(PLACE, fetcher.MemoryRecords(data), [], offset, None, None, True, 1)
        result = fetcher.FetchResult(PLACE, assignment=assignment, partition_records=records, backoff=0)
        found: list[tuple[list[Any], int]] = []
        for most in cycle(lists):
            if not result.has_more():
                return found
            if most == 0:
                one = result.getone()
                some = [] if one is None else [one]
            else:
                some = result.getall(most)
            found.append(([seen(record)[:5] for record in some], place.position))
    raise AssertionError("a cycle does not end")


LIMITS = st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=5)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(RECORDS, st.sampled_from(["plain", "headers", "gzip"])), max_size=6), st.data())
def test_lists_of_records_are_those_of_a_consumer_without_it(batches: list[tuple[list[Any], str]], chance: Any) -> None:
    data, offset = b"", 5
    for records, kind in batches:
        offset += chance.draw(st.integers(0, 3))  # compaction leaves gaps
        data += batch_of(records, offset, headers=[("a", b"b")] if kind == "headers" else (), codec=kind == "gzip")
        offset += len(records)
    begin, limits = chance.draw(st.integers(0, offset)), chance.draw(LIMITS)
    most_bytes = chance.draw(st.sampled_from([0, 40, 8 << 20]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unread, "LIST_BYTES", most_bytes)
        with_kernel = read_fetch(data, begin, limits, True)
        without = read_fetch(data, begin, limits, False)
    if most_bytes != 40:
        assert with_kernel == without
    else:  # a list may end sooner than it must, in front of a batch that would not fit as a whole
        assert [row for rows, _ in with_kernel for row in rows] == [row for rows, _ in without for row in rows]
        assert [at for _, at in with_kernel][-1:] == [at for _, at in without][-1:]
