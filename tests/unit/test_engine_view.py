"""What a unit of work sees, keeps and refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.dead_letters import MAX_VALUE_BYTES
from streams.engine.partition.view import UNIT_BYTES, StateView
from streams.engine.ports import Output, Record, StoreError
from streams.kafka.record import MAX_RECORD_BYTES, MAX_ROW_BYTES
from streams.testing import FakeRecord, MemoryStore
from streams.wire.registry import RegistryError

KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
CHANGES = st.dictionaries(KEYS, st.one_of(st.none(), st.binary(max_size=3)))


def record(offset: int = 7, value: bytes | None = b"v") -> Record:
    return FakeRecord("in", offset, 1_000, b"key", value, (("h", b"1"),))


def filled(*layers: dict[bytes, bytes | None]) -> StateView:
    stored, uncommitted, changed = layers
    store = MemoryStore()
    store.write(stored)
    view = StateView(store, uncommitted)
    for key, value in changed.items():
        view.put(key, value)
    return view


@given(CHANGES, CHANGES, CHANGES, KEYS, KEYS, st.integers(1, 6))
def test_a_view_reads_its_changes_over_the_uncommitted_over_the_store(
    stored: dict[bytes, bytes | None],
    uncommitted: dict[bytes, bytes | None],
    changed: dict[bytes, bytes | None],
    start: bytes,
    end: bytes,
    limit: int,
) -> None:
    view = filled(stored, uncommitted, changed)
    merged = {**stored, **uncommitted, **changed}
    assert all(view.get(key) == merged.get(key) for key in (b"a", b"b", b"c", b"d", b"e", b"f"))
    rows = sorted((key, value) for key, value in merged.items() if value is not None and start <= key < end)
    assert view.scan(start, end) == rows
    assert view.scan(start, end, limit) == rows[:limit]


def test_a_rejected_record_becomes_a_dead_letter_with_its_bytes_and_the_reason() -> None:
    view = StateView(MemoryStore(), {}, 3)
    view.reject(record(), ValueError("server: 'x': no host name"))
    (letter,) = view.outputs
    assert view.changes == {}
    assert (letter.topic, letter.key, letter.value) == ("in.dlq", b"key", b"v")
    assert dict(letter.headers) == {
        "h": b"1",
        "error": b"ValueError: server: 'x': no host name",
        "source.topic": b"in",
        "source.partition": b"3",
        "source.offset": b"7",
        "source.timestamp": b"1000",
    }


def test_a_dead_letter_larger_than_its_topic_takes_is_cut_and_says_so() -> None:
    view = StateView(MemoryStore())
    view.reject(record(value=b"x" * (MAX_RECORD_BYTES + 1)), ValueError("large"))
    assert len(view.outputs[0].value or b"") == MAX_VALUE_BYTES
    assert dict(view.outputs[0].headers)["source.size"] == b"%d" % (MAX_RECORD_BYTES + 1)


def test_headers_count_where_the_size_of_an_output_is_bounded() -> None:
    view = StateView(MemoryStore())
    with pytest.raises(ValueError, match="output to out: "):
        view.emit(Output("out", b"k", b"v", (("tracestate", b"x" * MAX_ROW_BYTES),)))


@pytest.mark.parametrize("error", [StoreError("disk"), RegistryError("down"), OSError(28, "full"), MemoryError()])
def test_what_is_not_the_records_fault_is_raised_and_makes_no_dead_letter(error: Exception) -> None:
    view = StateView(MemoryStore())
    with pytest.raises(type(error)):
        view.reject(record(), error)
    assert view.outputs == []


def test_a_row_or_output_that_kafka_would_refuse_is_refused_with_its_size() -> None:
    view = StateView(MemoryStore())
    with pytest.raises(ValueError, match=f"more than {MAX_ROW_BYTES}"):
        view.put(b"k", b"x" * MAX_ROW_BYTES)
    with pytest.raises(ValueError, match="output to out: "):
        view.emit(Output("out", b"k", b"x" * MAX_ROW_BYTES))
    assert (view.changes, view.outputs, view.size_bytes) == ({}, [], 0)


def test_a_unit_is_full_when_its_rows_outputs_and_dead_letters_are_large() -> None:
    view = StateView(MemoryStore())
    big = b"x" * 500_000
    for number in range(UNIT_BYTES // len(big) // 3 + 1):
        assert not view.is_full
        view.put(b"%d" % number, big)
        view.emit(Output("out", b"k", big))
        view.reject(record(value=big), ValueError("bad"))
    assert view.is_full
