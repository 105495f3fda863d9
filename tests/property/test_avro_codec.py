"""The codec: what goes in comes out, and whatever else comes in is named malformed."""

from __future__ import annotations

import io
from collections import namedtuple
from functools import cache
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.policy.rulebook import Rulebook
from streams.domain.time import DAY_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.codec import AvroCodec, MalformedRecordError, RecordEncodingError
from streams.wire.fast_decoder import decode_record, decoder_of
from streams.wire.fast_encoder import encoder_of
from streams.wire.records import connection_of, to_record
from streams.wire.registry import LocalRegistry
from streams.wire.schemas import SUBJECTS, load_schema, without
from tests.support.avro_values import values
from tests.support.four_servers import feed

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


@cache
def row_of(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names)  # noqa: PYI024 - its fields are drawn


def in_tuples(value: Any, is_in_order: bool) -> Any:
    """A value with tuples in the place of lists, and named ones in that of dicts, their fields in order or not."""
    if isinstance(value, dict):
        names = list(value) if is_in_order else list(value)[::-1]
        return row_of(tuple(names))(*[in_tuples(value[name], is_in_order) for name in names])
    return tuple(in_tuples(item, is_in_order) for item in value) if isinstance(value, list) else value


@pytest.mark.parametrize("is_in_order", [True, False])
@pytest.mark.parametrize("name", OWN_RECORDS)
@given(data=st.data())
def test_named_tuples_are_written_as_the_records_that_they_become(
    name: str, is_in_order: bool, data: st.DataObject
) -> None:
    record = data.draw(values(load_schema(name), {}))
    written = AvroCodec(name, REGISTRY, is_checked=False).encode(in_tuples(record, is_in_order))
    assert written == AvroCodec(name, REGISTRY).encode(record)


def test_what_decisions_emit_is_written_without_dicts_in_between() -> None:
    simulation = Simulation(Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue()))
    for row in feed(5, 200, DAY_MS):
        simulation.feed(connection_of(row))
    results = simulation.results
    for name, emitted in (
        ("verdict", results.verdicts),
        ("admin_notification", results.notifications),
        ("server_report", list(results.servers.values())),
    ):
        assert emitted
        names: dict[str, Any] = {}
        schema = parse_schema(without(load_schema(name), {"doc", "logicalType"}), names)
        for item in emitted:
            parts: list[bytes] = []
            encoder_of(schema, names).write(parts, item)
            assert AvroCodec(name, REGISTRY).encode(to_record(item)).endswith(b"".join(parts))


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


@pytest.mark.parametrize("name", OWN_RECORDS)
@given(data=st.data())
def test_the_products_own_records_are_read_as_others_are(name: str, data: st.DataObject) -> None:
    record = data.draw(values(load_schema(name), {}))
    value = AvroCodec(name, REGISTRY).encode(record)
    read = AvroCodec(name, REGISTRY, is_walked=False).decode(value)
    assert read == record
    assert list(read) == list(AvroCodec(name, REGISTRY).decode(value))


@pytest.mark.parametrize("name", OWN_RECORDS)
@given(data=st.data())
def test_what_the_fast_decoder_takes_is_what_everybody_reads(name: str, data: st.DataObject) -> None:
    value = bytearray(AvroCodec(name, REGISTRY).encode(data.draw(values(load_schema(name), {}))))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(5, len(value) - 1))] = data.draw(st.integers(0, 255))
    names: dict[str, Any] = {}
    schema = parse_schema(without(load_schema(name), {"doc", "logicalType"}), names)
    try:
        read = decode_record(decoder_of(schema, names, schema, names), bytes(value), 5)
    except (ValueError, IndexError):
        return
    assert read == AvroCodec(name, REGISTRY).decode(bytes(value))


def without_last_field(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as it was before its last field came."""
    return schema | {"fields": schema["fields"][:-1]}


@given(data=st.data())
def test_records_of_another_version_are_read_as_others_are(data: st.DataObject) -> None:
    newer = without(load_schema("server_report"), {"doc", "logicalType"})
    older = without_last_field(newer)
    for writer, reader in ((older, newer), (newer, older)):
        record = data.draw(values(writer, {}))
        names: dict[str, Any] = {}
        known: dict[str, Any] = {}
        written, wanted = parse_schema(writer, names), parse_schema(reader, known)
        out = io.BytesIO()
        schemaless_writer(out, written, record)
        out.seek(0)
        expected: Any = schemaless_reader(out, written, wanted)
        read = decode_record(decoder_of(written, names, wanted, known), out.getvalue(), 0)
        assert read == expected
        assert list(read) == list(expected)
