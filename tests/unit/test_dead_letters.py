"""A dead letter is read back as the record that it holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine.dead_letters import MAX_HEADERS_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, dead_letter
from streams.engine.partition.view import size_of
from streams.engine.ports import Output
from streams.kafka.record import MAX_LETTER_BYTES, MAX_RECORD_BYTES, Headers
from streams.operations.dead_letters import (
    DeadLetter,
    DeadLetterError,
    DeadLetterFilter,
    Disposition,
    DispositionKind,
    parse_dead_letter,
    parse_place,
)
from streams.testing import FakeRecord


def written(output: Output, offset: int = 3) -> Any:
    _, key, value, headers = output
    return SimpleNamespace(
        topic="in.dlq", partition=1, offset=offset, timestamp=99, key=key, value=value, headers=headers
    )


def letter(headers: Headers = (), value: bytes | None = b"v", offset: int = 7) -> DeadLetter:
    record = FakeRecord("in", offset, 5, b"tenant-1", value, headers)
    return parse_dead_letter("connections", written(dead_letter(record, ValueError("Bad build"), 2)))


@pytest.mark.parametrize("headers", [(), (("traceparent", b"00-1"),), (("error", b"mine"), ("source.size", b"1"))])
def test_the_records_own_headers_come_back_whatever_they_are_called(headers: Headers) -> None:
    found = letter(headers)
    assert (found.key, found.value, found.headers) == (b"tenant-1", b"v", headers)
    assert found.error == "ValueError: Bad build"
    assert found.origin["source.topic"] == "in"
    assert (found.position, found.row, found.unreplayable_reason) == ("connections/1/3", b"in/2/7@5", None)


def test_a_letter_without_a_value_is_whole_and_one_that_was_cut_is_not() -> None:
    assert letter(value=None).unreplayable_reason is None
    cut = letter(value=b"x" * (MAX_RECORD_BYTES + 1))
    assert cut.unreplayable_reason == f"its value is truncated to {MAX_VALUE_BYTES} of {MAX_RECORD_BYTES + 1} bytes"
    assert (cut.headers, cut.row) == ((), b"in/2/7@5")


@pytest.mark.parametrize("value", [b"v", b"x" * MAX_VALUE_BYTES, None], ids=["small", "large", "none"])
@pytest.mark.parametrize("key_bytes", [8, MAX_KEY_BYTES, 15 << 20])
@pytest.mark.parametrize("own_bytes", [0, MAX_HEADERS_BYTES // 2, 16 << 20])
def test_whatever_is_large_in_a_record_its_letter_fits_its_topic(
    value: bytes | None, key_bytes: int, own_bytes: int
) -> None:
    headers: Headers = (("h", b"h" * own_bytes),) if own_bytes else ()
    record = FakeRecord("in", 7, 5, b"k" * key_bytes, value, headers)
    output = dead_letter(record, ValueError("x" * 3_000), 2)
    assert size_of(output) <= MAX_LETTER_BYTES
    found = parse_dead_letter("connections", written(output))
    assert found.unreplayable_reason is None or size_of(record) > MAX_RECORD_BYTES
    if found.unreplayable_reason is None:
        assert (found.key, found.value, found.headers) == (record.key, value, headers)
    assert (found.row, found.origin["source.topic"]) == (b"in/2/7@5", "in")
    if key_bytes + own_bytes > 20 << 20:
        assert (
            found.unreplayable_reason
            == f"it lacks parts that were too large: key of {key_bytes} bytes, 1 headers of {own_bytes + 6} bytes"
        )


def test_a_header_without_a_value_is_none_of_a_letters_own() -> None:
    headers: Any = (("h", None), ("error", None))
    found = letter(headers)
    assert found.headers == headers
    assert found.error == "ValueError: Bad build"


@pytest.mark.parametrize("key", [0, 8, 1 << 20, (1 << 20) + 1, 15 << 20])
@pytest.mark.parametrize("header", [None, 0, 100, 1 << 20, 1_000_000])
@pytest.mark.parametrize("more", [0, 1])
def test_a_record_of_the_size_that_its_topic_takes_is_whole_in_its_letter(
    key: int, header: int | None, more: int
) -> None:
    headers = (("h", b"x" * header),) if header is not None else ()
    rest = FakeRecord("in", 7, 5, b"k" * key, None, headers)
    record = rest._replace(value=b"v" * (MAX_RECORD_BYTES - 8 - size_of(rest) + 16 * more))
    if size_of(rest) > MAX_RECORD_BYTES - 8:
        return
    found = dead_letter(record, ValueError("\U0001f600" * 5_000), 2)
    assert size_of(found) <= MAX_LETTER_BYTES
    is_whole = (found.key, found.value, found.headers[: len(headers)]) == (record.key, record.value, headers)
    assert is_whole == (not more)
    assert (parse_dead_letter("connections", written(found)).unreplayable_reason is None) == is_whole


def test_what_does_not_tell_its_origin_is_shown_and_cannot_be_replayed() -> None:
    found = parse_dead_letter("commands", written(Output("in.dlq", None, b"v", (("error", b"by hand"),))))
    assert found.unreplayable_reason == "its headers do not name its source"
    assert (found.headers, found.error) == ((("error", b"by hand"),), "")
    assert found.row == b"in.dlq/1/3@99"


def test_filters_hold_together_and_handled_letters_are_left_out() -> None:
    found = letter()
    assert DeadLetterFilter(error="bad BUILD", tenant="tenant-1", since=99).matches(found)
    assert not DeadLetterFilter(error="other").matches(found)
    assert not DeadLetterFilter(tenant="tenant-2").matches(found)
    assert not DeadLetterFilter(since=100).matches(found)
    handled = parse_dead_letter(
        "connections",
        written(dead_letter(FakeRecord("in", 7, 5, None, b"v", ()), ValueError("x"), 2)),
        {b"in/2/7@5": Disposition(DispositionKind.DISCARDED, 1, "me", "old")},
    )
    assert not DeadLetterFilter().matches(handled)
    assert DeadLetterFilter(with_handled=True).matches(handled)
    assert DeadLetterFilter(places=(("connections", 1, 3),)).matches(handled)
    assert not DeadLetterFilter(places=(("connections", 1, 4),)).matches(handled)


@pytest.mark.parametrize("text", ["", "connections", "connections/1", "connections/1/x", "other/1/2", "commands/-1/2"])
def test_a_place_that_names_no_letter_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(DeadLetterError, match="must be INPUT/PARTITION/OFFSET"):
        parse_place(text)
