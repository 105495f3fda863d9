"""What producers compressed stays within bounds, and a batch that cannot be read is handed on as one."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import os
import struct
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition, codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

import streams.kafka.cluster  # noqa: F401 (puts the bounds in place)
from streams.kafka.fetched import NO_TIMESTAMP
from streams.kafka.inflation import MAX_INFLATED_BYTES, InflationError, TooLargeError, gunzip, unlz4, unsnap, unzstd
from streams.kafka.reader import read_partitions
from streams.kafka.topics import TopicError
from streams.kafka.unread import LIST_BYTES, UnreadBatch, UnreadBatchError
from streams.policies.reader import PublishedReader

TP = TopicPartition("in", 2)
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
CODECS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    "gzip": (codec.gzip_encode, gunzip),
    "snappy": (lambda data: codec.snappy_encode(data, xerial_compatible=False), unsnap),
    "snappy of Java": (codec.snappy_encode, unsnap),
    "lz4": (codec.lz4_encode, unlz4),
    "zstd": (codec.zstd_encode, unzstd),
}


@pytest.mark.parametrize("name", CODECS)
@given(seed=st.binary(max_size=50), times=st.integers(0, 50_000))
def test_what_was_compressed_comes_back(name: str, seed: bytes, times: int) -> None:
    encode, decode = CODECS[name]
    data = (seed * (1 + times))[:2_000_000]
    assert decode(bytes(encode(data))) == data


@pytest.mark.parametrize("name", CODECS)
def test_what_hardly_compresses_comes_back(name: str) -> None:
    encode, decode = CODECS[name]
    data = os.urandom(3 << 20) + bytes(20 << 20)
    assert decode(memoryview(bytes(encode(data)))) == data


@pytest.mark.parametrize("name", CODECS)
def test_the_bound_is_exact(name: str) -> None:
    encode, decode = CODECS[name]
    assert len(decode(bytes(encode(bytes(MAX_INFLATED_BYTES))))) == MAX_INFLATED_BYTES
    with pytest.raises(TooLargeError, match=str(MAX_INFLATED_BYTES)):
        decode(bytes(encode(bytes(MAX_INFLATED_BYTES + 1))))


@pytest.mark.parametrize("name", CODECS)
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.integers(0, 40))
def test_damage_is_told_as_such(name: str, at: float, byte: int, cut: int) -> None:
    encode, decode = CODECS[name]
    data = bytearray(encode(b"0123456789 and so on" * 500))
    data[int(at * len(data))] = byte
    with contextlib.suppress(InflationError):
        decode(bytes(data[: len(data) - cut]))


def test_members_one_behind_the_other_count_together() -> None:
    assert gunzip(gzip.compress(b"a") + gzip.compress(b"b") + b"\0\0") == b"ab"
    half = gzip.compress(bytes(MAX_INFLATED_BYTES // 2 + 1))
    with pytest.raises(TooLargeError):
        gunzip(half + half)
    frame = bytes(cramjam.zstd.compress(bytes(MAX_INFLATED_BYTES // 2 + 1)))
    with pytest.raises(TooLargeError):
        unzstd(frame + frame)


def test_a_bomb_takes_no_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    decompress_into = cramjam.zstd.decompress_into

    def noted(data: bytes, buffer: bytearray) -> int:
        sizes.append(len(buffer))
        return int(decompress_into(data, buffer))

    bomb = bytes(cramjam.zstd.compress(bytes(300 << 20)))
    monkeypatch.setattr(cramjam, "zstd", SimpleNamespace(decompress_into=noted))
    with pytest.raises(TooLargeError):
        unzstd(bomb)
    assert sizes[-1] == max(sizes) == MAX_INFLATED_BYTES


# --- what a consumer makes of a fetch ---


def batch(offset: int, values: Iterable[bytes], compression: int = 0, headers: Any = ()) -> bytes:
    """As a broker serves it: the records of one producer's request from `offset` on."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 30)
    for number, value in enumerate(values):
        assert builder.append(number, 1_000 + number, b"k", value, list(headers)) is not None
    return rebased(bytearray(builder.build()), offset)


def rebased(data: bytearray, offset: int) -> bytes:
    data[:8] = offset.to_bytes(8, "big")
    return bytes(data)


def resealed(data: bytes) -> bytes:
    """With the checksum of what it has now."""
    return data[:17] + struct.pack(">I", calc_crc32c(data[21:])) + data[21:]


def fetched(data: bytes, offset: int = 0) -> tuple[fetcher.FetchResult, Any]:
    """A fetch of a partition at `offset`, and where the partition's position is kept."""
    place = SimpleNamespace(paused=False, position=offset)
    place.consumed_to = lambda position: setattr(place, "position", position)
    assignment = SimpleNamespace(active=True, state_value=lambda _: place)
    records = fetcher.PartitionRecords(TP, fetcher.MemoryRecords(data), [], offset, None, None, True, 1)
    return fetcher.FetchResult(TP, assignment=assignment, partition_records=records, backoff=0), place


def read_all(data: bytes, most: int | None = 500) -> list[Any]:
    """As a consumer does: what lies behind an unread batch is fetched again."""
    found: list[Any] = []
    position, ends = 0, list[int]()
    while True:
        rest, at = b"", 0
        while at < len(data):
            base, length = struct.unpack_from(">qi", data, at)
            (last,) = struct.unpack_from(">i", data, at + 23)
            if base + last >= position:
                rest += data[at : at + 12 + length]
            at += 12 + length
        if not rest:
            return found
        result, place = fetched(rest, position)
        while result.has_more():
            found += result.getall(most)
            ends.append(place.position)
        assert place.position > position
        position = place.position


@pytest.mark.parametrize("compression", [GZIP, SNAPPY, LZ4, ZSTD])
@pytest.mark.parametrize("most", [1, 500])
def test_a_bomb_is_one_unread_batch_and_its_neighbours_are_read(compression: int, most: int) -> None:
    bomb = batch(2, [b"a", bytes(50 << 20), b"c"], compression)
    assert len(bomb) < 4 << 20
    data = batch(0, [b"x", b"y"], compression) + bomb + batch(5, [b"z"]) + batch(6, [bytes(40 << 20)], compression)
    found = read_all(data, most)
    assert [row.offset for row in found] == [0, 1, 4, 5, 6]
    unread = found[2]
    assert isinstance(unread, UnreadBatch)
    assert (unread.first, unread.offset, unread.batch) == (2, 4, bomb)
    assert (unread.topic, unread.partition, unread.timestamp, unread.key) == ("in", 2, 1_002, None)
    name = ("gzip", "snappy", "lz4", "zstd")[compression - 1]
    assert (
        str(unread.error) == f"offsets 2..4: batch of {len(bomb)} bytes ({name}): inflates to more than 33554432 bytes"
    )
    assert unread.size == len(bomb)
    with pytest.raises(UnreadBatchError, match=r"in-2: offsets 2\.\.4: batch of"):
        _ = unread.value
    assert str(found[4].error).startswith("offset 6: batch of")


def test_a_record_that_cannot_be_taken_apart_leaves_the_ones_before_it() -> None:
    """The name of a header that is no UTF-8 passes every broker."""
    whole = batch(0, [b"a", b"b", b"c"], headers=[("name", b"v")])
    at = whole.rindex(b"name", 0, whole.rindex(b"name"))
    broken = resealed(whole[:at] + b"\xff\xfe\xfd\xfc" + whole[at + 4 :])
    found = read_all(broken + batch(3, [b"d"]))
    assert [(row.offset, type(row) is UnreadBatch) for row in found] == [(0, False), (2, True), (3, False)]
    assert (found[1].first, found[1].offset) == (1, 2)
    assert "(none)" in str(found[1].error)


def test_a_header_without_a_value_is_read() -> None:
    found = read_all(batch(0, [b"a"], headers=[("none", None), ("some", b"v")]) + batch(1, [b"b"]))
    assert [(row.offset, row.value, row.headers) for row in found] == [
        (0, b"a", (("none", None), ("some", b"v"))),
        (1, b"b", ()),
    ]
    assert found[0].size == len(b"k" + b"a" + b"none" + b"some" + b"v")


@pytest.mark.parametrize("magic", [0, 1])
def test_a_record_of_an_old_format_that_has_no_time_is_read(magic: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    assert builder.append(0, None if magic == 0 else -1, b"k", b"v") is not None
    (found,) = fetched(bytes(builder.build()))[0].getall(500)
    assert (found.key, found.value, found.timestamp, found.timestamp_type) == (b"k", b"v", NO_TIMESTAMP, 0)


def test_a_wrong_checksum_is_not_the_batchs_fault() -> None:
    """The records in front of it are read, and then it is named, as often as it is fetched."""
    damaged = batch(2, [b"c", b"d", b"e"])[:-1] + b"\xff"
    result, place = fetched(batch(0, [b"a", b"b"]) + damaged + batch(5, [b"f"]))
    assert [row.offset for row in result.getall(500)] == [0, 1]
    assert (place.position, result.has_more()) == (2, False)
    for _ in range(2):
        result, place = fetched(damaged, 2)
        with pytest.raises(CorruptRecordException, match=r"in-2: offsets 2\.\.4: checksum mismatch"):
            result.getall(500)
        assert place.position == 2


@pytest.mark.parametrize("fault", [MemoryError, TypeError, AttributeError])
def test_what_memory_or_the_program_refuses_is_not_the_batchs_fault(
    monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    def refuse(_: Any) -> bytes:
        raise fault

    from aiokafka.record._crecords import default_records

    monkeypatch.setattr(default_records, "gzip_decode", refuse)
    result, _ = fetched(batch(0, [b"a" * 1_000], GZIP))
    with pytest.raises(fault):
        result.getall(500)


@pytest.mark.parametrize("part", ["value", "headers"])
def test_a_list_of_records_is_bounded_in_bytes(part: str) -> None:
    """Many batches in one fetch that inflate, each within the bound."""
    big = bytes(3 << 20)
    headers = [("h", big)] if part == "headers" else []
    value = b"" if part == "headers" else big
    data = b"".join(batch(2 * number, [value] * 2, GZIP, headers) for number in range(6))
    result, place = fetched(data)
    lists = list(iter(lambda: result.getall(500), []))
    offsets = [[row.offset for row in rows] for rows in lists]
    assert list(itertools.chain(*offsets)) == list(range(12))
    assert all(sum(row.size for row in rows[:-1]) <= LIST_BYTES for rows in lists)
    assert len(lists) == 4
    assert place.position == 12


# --- what other readers make of one ---


class OneFetch:
    """A consumer of one partition that fetched a batch which cannot be read."""

    def __init__(self, unread: UnreadBatch) -> None:
        self._unread, self._position = unread, 0

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int | None = None
    ) -> dict[TopicPartition, list[UnreadBatch]]:
        del timeout_ms, max_records
        self._position = 1
        return {partitions[0]: [self._unread]}

    async def start(self) -> None:
        pass

    stop = start

    def assign(self, _: Any) -> None:
        pass

    def seek(self, *_: Any) -> None:
        pass

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 1)

    async def position(self, _: TopicPartition) -> int:
        return self._position


def one_fetch() -> tuple[OneFetch, UnreadBatch]:
    (unread,) = read_all(batch(0, [bytes(40 << 20)], GZIP))
    return OneFetch(unread), unread


def test_a_policy_in_one_is_refused_and_the_worker_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    topic: Any = SimpleNamespace(cluster=None, policies_topic="in", catalogues_topic="other")
    reader = PublishedReader(topic)
    _, unread = one_fetch()
    assert reader.take([unread], [unread]) is False
    assert (reader.published.policies, reader.published.catalogues) == ((), ())
    assert f"rejected policy at offset 0 of in: {unread.error}" in caplog.text
    assert f"rejected catalogue at offset 0 of other: {unread.error}" in caplog.text


def test_who_reads_a_topic_is_told_of_one_and_who_needs_all_stops(caplog: pytest.LogCaptureFixture) -> None:
    async def read(needs_all: bool) -> list[Any]:
        consumer, _ = one_fetch()
        cluster: Any = SimpleNamespace(consumer=lambda **_: consumer)
        return [record async for record in read_partitions(cluster, {TP: None}, needs_all=needs_all)]

    assert asyncio.run(read(False)) == []
    assert "in-2: offset 0: batch of" in caplog.text
    assert caplog.text.rstrip().endswith("inflates to more than 33554432 bytes: left out")
    with pytest.raises(TopicError, match=r"in-2: offset 0: batch of .* let a worker read it first"):
        asyncio.run(read(True))
