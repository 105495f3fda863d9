"""The fast way is taken for one schema only: the one that it was written for."""

from __future__ import annotations

from typing import Any

import pytest

from streams.wire.fast_headers import FastSchemaError, check_fields, fast_headers
from streams.wire.registry import LocalRegistry
from streams.wire.schemas import SUBJECTS, load_schema

SCHEMA = load_schema("inbound_connection")


def field(schema: dict[str, Any], name: str) -> Any:
    return next(item for item in schema["fields"] if item["name"] == name)


def enums(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"connector_type": field(schema, "connector_type")["type"], "outcome": field(schema, "outcome")["type"][1]}


def test_a_value_of_this_schema_begins_with_its_id() -> None:
    registry = LocalRegistry()
    expected = registry.id_of(SUBJECTS["inbound_connection"], SCHEMA)
    assert fast_headers(registry).current == b"\0" + expected.to_bytes(4, "big")


@pytest.mark.parametrize("name", ["connector_type", "outcome"])
def test_other_symbols_are_refused_though_there_are_as_many(name: str) -> None:
    for change in (reversed, lambda symbols: [*symbols[:-1], "OTHER"]):
        schema = load_schema("inbound_connection")
        enum = enums(schema)[name]
        enum["symbols"] = list(change(enum["symbols"]))
        with pytest.raises(FastSchemaError):
            check_fields(schema)


def test_another_order_of_fields_is_refused() -> None:
    schema = load_schema("inbound_connection")
    schema["fields"].reverse()
    with pytest.raises(FastSchemaError):
        check_fields(schema)
