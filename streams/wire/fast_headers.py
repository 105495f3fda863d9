"""Which values `decode_fast` takes: those of a schema that it was written for, told by their first bytes."""

from __future__ import annotations

from typing import Any, Final

from streams.domain.policy.policy import CONNECTORS
from streams.domain.server.connection import Outcome
from streams.wire.registry import SchemaRegistry
from streams.wire.schemas import SUBJECTS, Schema, load_schema, without

OUTCOMES: Final = tuple(Outcome)
_FIELDS: Final = [
    ("observed_at", "long"),
    ("connector_type", ["one of", *map(str, CONNECTORS)]),
    ("tenant_id", "string"),
    ("received", ["array of", "string"]),
    ("event_id", "string"),
    ("connector_id", "string"),
    ("source_ip", "string"),
    ("helo", "string"),
    ("tls_subject", ["null", "string"]),
    ("message_id", ["null", "string"]),
    ("outcome", ["null", ["one of", *map(str, OUTCOMES), "UNKNOWN"]]),
    ("recipients", "int"),
    ("refused_before", "int"),
]
"""The fields on the wire, enums by their symbols in the order of their numbers."""


class FastSchemaError(ValueError):
    """The schema is not the one that `decode_fast` was written for."""


class FastHeaders:
    """The first five bytes of the values that `decode_fast` takes.

    `current` begins those of this version's schema, `previous` those of the one before it, which has no
    `refused_before`; `previous` is empty where the registry does not know that one.
    """

    __slots__ = ("current", "previous")

    def __init__(self, current: bytes, previous: bytes = b"") -> None:
        self.current, self.previous = current, previous


def _shape(kind: Any) -> Any:
    """A type as the wire knows it: `long` for `{"type": "long"}`, an enum by its symbols."""
    if isinstance(kind, list):
        return [_shape(branch) for branch in kind]
    if isinstance(kind, str):
        return kind
    if kind["type"] == "enum":
        return ["one of", *kind["symbols"]]
    return ["array of", _shape(kind["items"])] if kind["type"] == "array" else _shape(kind["type"])


def check_fields(schema: Schema) -> None:
    """Refuse a schema that `decode_fast` was not written for.

    Raises:
        FastSchemaError: it has other fields, or other symbols.
    """
    plain = without(schema, {"doc", "logicalType"})
    if [(field["name"], _shape(field["type"])) for field in plain["fields"]] != _FIELDS:
        raise FastSchemaError("inbound_connection: its fields are not those that the fast decoder expects")


def fast_headers(registry: SchemaRegistry) -> FastHeaders:
    """The headers of the values that `decode_fast` takes.

    Raises:
        FastSchemaError: the schema has other fields than `decode_fast` knows, or other symbols.
        RegistryError: the registry did not answer or refused the schema.
    """
    subject, schema = SUBJECTS["inbound_connection"], load_schema("inbound_connection")
    check_fields(schema)
    current = registry.id_of(subject, schema)
    schema["fields"].pop()
    previous = registry.known_id_of(subject, schema)
    return FastHeaders(_header(current), b"" if previous is None else _header(previous))


def _header(schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big")
