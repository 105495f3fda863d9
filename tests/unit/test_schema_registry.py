"""What a registry says of one id is the fault of the record that names it; a broken registry is the worker's matter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from streams.errors import is_records_fault
from streams.testing import ManualClock
from streams.wire.codec import AvroCodec, MalformedRecordError
from streams.wire.registry import (
    UNKNOWN_ASKED,
    UNKNOWN_SECONDS,
    ConfluentRegistry,
    LocalRegistry,
    RegistryError,
    UnknownSchemaIdError,
)
from streams.wire.schemas import SUBJECTS, load_schema
from tests.support.registry_server import RegistryServer


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as found:
        yield found


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry(server: RegistryServer, clock: ManualClock) -> ConfluentRegistry:
    return ConfluentRegistry(server.url, timeout_seconds=5.0, now=clock)


def schema_answer(schema: Any, **more: Any) -> tuple[int, bytes]:
    return 200, json.dumps({"schema": schema, **more}).encode()


OF_THE_ID = {
    "400": (400, b"{}"),
    "404": (404, b'{"error_code": 40403}'),
    "404 without a body": (404, b""),
    "410": (410, b""),
    "422": (422, b"not valid"),
    "another kind": schema_answer("syntax = 3", schemaType="PROTOBUF"),
    "no JSON": schema_answer("{"),
    "nests without end": schema_answer("[" * 100_000),
    "no record": schema_answer('"string"'),
    "huge": schema_answer(json.dumps({"type": "record", "name": "x" * (5 << 20), "fields": []})),
}
OF_THE_REGISTRY = {
    "401": (401, b""),
    "403": (403, b""),
    "429": (429, b""),
    "500": (500, b"oops"),
    "503": (503, b""),
    "no JSON": (200, b"<html>"),
    "no object": (200, b"[]"),
    "without a schema": (200, b"{}"),
    "a schema that is no text": schema_answer({"type": "record"}),
    "cut off": None,
}


@pytest.mark.parametrize("name", OF_THE_ID)
def test_what_concerns_one_id_is_its_records_fault_and_is_asked_once(
    name: str, server: RegistryServer, registry: ConfluentRegistry, clock: ManualClock
) -> None:
    server.answers[7_000] = OF_THE_ID[name]
    codec = AvroCodec("inbound_connection", registry)
    value = b"\0" + (7_000).to_bytes(4, "big") + b"\x02"
    said = set()
    for _ in range(5):
        with pytest.raises(MalformedRecordError, match="unknown schema id 7000: ") as caught:
            codec.decode(value)
        said.add(str(caught.value))
    assert len(said) == 1
    assert server.asked == [7_000]
    clock.advance(UNKNOWN_SECONDS)
    del server.answers[7_000]
    server.answers[7_000] = server.schema_answer(
        LocalRegistry().id_of(SUBJECTS["inbound_connection"], load_schema("inbound_connection"))
    )
    with pytest.raises(MalformedRecordError, match="cut off"):  # its schema is known by now
        codec.decode(value)
    assert server.asked == [7_000, 7_000]


@pytest.mark.parametrize("name", OF_THE_REGISTRY)
def test_a_broken_registry_is_no_records_fault_and_is_asked_again(
    name: str, server: RegistryServer, registry: ConfluentRegistry
) -> None:
    server.answers[1] = OF_THE_REGISTRY[name]
    for _ in range(2):
        with pytest.raises(RegistryError) as caught:
            registry.schema_of(1)
        assert not is_records_fault(caught.value)
    assert set(server.asked) == {1}
    assert len(server.asked) >= 2
    del server.answers[1]
    assert registry.schema_of(1) == LocalRegistry().schema_of(1)


def test_a_registry_that_is_away_is_no_records_fault(clock: ManualClock) -> None:
    with pytest.raises(RegistryError) as caught:
        ConfluentRegistry("http://127.0.0.1:9", 1.0, clock).schema_of(1)
    assert not is_records_fault(caught.value)


def test_ever_new_ids_do_not_flood_the_registry(
    server: RegistryServer, registry: ConfluentRegistry, clock: ManualClock
) -> None:
    for schema_id in range(10_000, 30_000):
        with pytest.raises(UnknownSchemaIdError):
            registry.schema_of(schema_id)
    assert server.asked == list(range(10_000, 10_000 + UNKNOWN_ASKED))
    with pytest.raises(
        UnknownSchemaIdError, match="unknown schema id 1: not looked up, after 60 unknown ids within 60 s"
    ):
        registry.schema_of(1)
    clock.advance(UNKNOWN_SECONDS)
    assert registry.schema_of(1) == LocalRegistry().schema_of(1)
    for schema_id in range(20_000, 30_000):  # what is known stays so in the next flood, and nothing is kept for ever
        with pytest.raises(UnknownSchemaIdError):
            registry.schema_of(schema_id)
    assert registry.schema_of(1) == LocalRegistry().schema_of(1)
    assert len(server.asked) == 2 * UNKNOWN_ASKED + 1
    assert len(registry._unknown) == len(registry._asked) == UNKNOWN_ASKED


@pytest.mark.parametrize(
    "schema",
    [
        '{"type": "record", "name": "Other", "fields": []}',
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "NotThere"}]}',
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": '
        + '{"type": "array", "items": ' * 150
        + '"int"'
        + "}" * 152
        + "]}",
        '{"type": "record"}',
    ],
    ids=["another record", "references another subject", "nests deep", "no schema"],
)
def test_a_schema_that_does_not_fit_is_read_once(
    schema: str, server: RegistryServer, registry: ConfluentRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers[8_000] = schema_answer(schema)
    codec = AvroCodec("inbound_connection", registry)
    for _ in range(3):
        with pytest.raises(MalformedRecordError, match="schema id 8000: "):
            codec.decode(b"\0" + (8_000).to_bytes(4, "big") + b"\x02")
        monkeypatch.setattr(registry, "schema_of", None)  # it is not asked for again
