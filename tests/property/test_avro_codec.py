"""The codec: what goes in comes out, and whatever else comes in is named malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.wire.codec import AvroCodec, MalformedRecordError, RecordEncodingError
from streams.wire.registry import LocalRegistry
from streams.wire.schemas import SUBJECTS, load_schema
from tests.support.avro_values import values

REGISTRY = LocalRegistry()


@pytest.mark.parametrize("name", SUBJECTS)
@given(data=st.data())
def test_what_goes_in_comes_out(name: str, data: st.DataObject) -> None:
    record = data.draw(values(load_schema(name), {}))
    codec = AvroCodec(name, REGISTRY)
    assert codec.decode(codec.encode(record)) == record


OWN_RECORDS = ("admin_notification", "audit_record", "server_report", "verdict")


@pytest.mark.parametrize("name", OWN_RECORDS)
@given(data=st.data())
def test_the_products_own_records_are_written_as_others_are(name: str, data: st.DataObject) -> None:
    record = data.draw(values(load_schema(name), {}))
    assert AvroCodec(name, REGISTRY, is_checked=False).encode(record) == AvroCodec(name, REGISTRY).encode(record)


@pytest.mark.parametrize("name", OWN_RECORDS)
@given(data=st.data())
def test_of_the_products_own_records_none_is_written_that_does_not_fit(name: str, data: st.DataObject) -> None:
    record = data.draw(values(load_schema(name), {}))
    field = data.draw(st.sampled_from(sorted(record)))
    record[field] = data.draw(st.sampled_from([1.5, b"x", "\ud800", 2**63, -(2**63) - 1, {}, [2.5], None]))
    outcomes = []
    for is_checked in (True, False):
        try:
            outcomes.append(AvroCodec(name, REGISTRY, is_checked=is_checked).encode(record))
        except RecordEncodingError as error:
            outcomes.append(str(error).encode())
    assert outcomes[0] == outcomes[1]


@given(st.binary(max_size=200))
def test_random_bytes_are_malformed_or_a_record(body: bytes) -> None:
    codec = AvroCodec("inbound_connection", REGISTRY)
    for value in (body, b"\x00\x00\x00\x00\x01" + body):
        try:
            decoded = codec.decode(value)
        except MalformedRecordError:
            continue
        assert codec.decode(codec.encode(decoded)) == decoded


@given(st.data())
def test_a_cut_record_is_malformed(data: st.DataObject) -> None:
    codec = AvroCodec("inbound_connection", REGISTRY)
    record = data.draw(values(load_schema("inbound_connection"), {}))
    value = codec.encode(record)
    cut = data.draw(st.integers(0, len(value) - 1))
    with pytest.raises(MalformedRecordError):
        codec.decode(value[:cut])


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, "no value"),
        (b"", "empty"),
        (b"{}", "0x7b"),
        (b"\x00\x00\x00", "header"),
        (b"\x00\x00\x00\xff\xff", "65535"),
        (b"\x00\x00\x00\x00\x01" + b"\xff" * 12, "."),
        (b"\x00" * 2_000_000, "2000000"),
    ],
)
def test_the_reason_is_named(value: bytes | None, names: str) -> None:
    with pytest.raises(MalformedRecordError, match=names):
        AvroCodec("inbound_connection", REGISTRY).decode(value)
