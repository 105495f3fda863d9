"""Records to bytes and back: Avro behind the Confluent header (0x00, 4-byte big-endian schema id).

Every value is walked by `_walker` before it is decoded: the decoder underneath takes negative indices of enums and
unions, integers wider than their type and endless arrays of nothing for granted.
"""

from __future__ import annotations

import copy
import io
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.validation import ValidationError, validate

from streams.errors import is_records_fault
from streams.wire.fast_encoder import encoder_of
from streams.wire.schemas import SUBJECTS, Schema, SchemaRegistry, UnknownSchemaIdError, load_schema, without

MAX_VALUE_BYTES: Final = 1_048_576
"""Longest value that is taken or made, header included, unless the codec is told otherwise."""

_HEADER = struct.Struct(">bI")
_SHOWN_CHARS = 120
_REFUSED_CHARS = 500
_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1

_Walk = Callable[[bytes, int], int]
"""Takes a value and where an item starts; gives where it ends. Raises ValueError or IndexError if it has no end."""


class MalformedRecordError(ValueError):
    """Bytes that are no record of the expected kind; the message says why. Trying again will not help."""


class RecordEncodingError(ValueError):
    """A record that does not fit its schema; the message names the field and its value."""


class AvroCodec:
    """Encodes and decodes the records of one schema.

    Times are integers (milliseconds since 1970, UTC), dates are integers (days since 1970), enums are strings.
    """

    def __init__(
        self, name: str, registry: SchemaRegistry, *, max_bytes: int = MAX_VALUE_BYTES, is_checked: bool = True
    ) -> None:
        """Serve the schema `name`, such as `verdict`; values may have up to `max_bytes`, header included.

        Records that this product builds from its own types need not be `is_checked` before they are written; the check
        takes most of the time. One that does not fit is checked all the same.

        Raises:
            ValueError: there is no such schema.
        """
        self._schema = load_schema(name)
        self._subject = SUBJECTS[name]
        self._registry = registry
        self._max_bytes = max_bytes
        self._plain = _plain(self._schema)
        names: dict[str, Any] = {}
        self._parsed: Any = parse_schema(self._plain, names)
        self._encoder = None if is_checked else encoder_of(self._parsed, names)
        self._schema_id: int | None = None
        self._readers: dict[int, tuple[_Walk, Any, Any]] = {}
        self._refused: dict[int, str] = {}

    def encode(self, record: dict[str, Any]) -> bytes:
        """The record's value; a missing field takes its default.

        Raises:
            RecordEncodingError: a field is missing, unknown or of the wrong type, or the value is too long.
            UnregisteredSchemaError: the registry does not know the schema.
            RegistryError: the registry did not answer.
        """
        if self._schema_id is None:
            self._schema_id = self._registry.id_of(self._subject, self._schema)
        header = _HEADER.pack(0, self._schema_id)
        value = self._packed(record, header) or self._checked(record, header)
        if len(value) > self._max_bytes:
            raise RecordEncodingError(f"{self._plain['name']}: {len(value)} bytes, more than {self._max_bytes}")
        return value

    def _packed(self, record: dict[str, Any], header: bytes) -> bytes | None:
        if self._encoder is None:
            return None
        parts = [header]
        try:
            self._encoder.write(parts, record)
        except (TypeError, ValueError, KeyError):
            return None
        return b"".join(parts)

    def _checked(self, record: dict[str, Any], header: bytes) -> bytes:
        out = io.BytesIO()
        out.write(header)
        try:
            validate(record, self._parsed)
            schemaless_writer(out, self._parsed, record, strict_allow_default=True)
        except ValidationError as error:
            raise RecordEncodingError(_explain(error)) from error
        except Exception as error:  # whatever a value's own methods raise
            raise RecordEncodingError(f"{self._plain['name']}: {error}: {_shown(record)}") from error
        return out.getvalue()

    def decode(self, value: bytes | None) -> dict[str, Any]:
        """The record in `value`, as this codec's schema has it whichever registered version wrote it.

        Raises:
            MalformedRecordError: `value` is not exactly one such record.
            RegistryError: the registry did not answer.
        """
        if not value:
            raise MalformedRecordError("no value" if value is None else "empty value")
        if len(value) > self._max_bytes:
            raise MalformedRecordError(f"{len(value)} bytes, more than {self._max_bytes}")
        if value[0] != 0:
            raise MalformedRecordError(f"first byte is 0x{value[0]:02x}, must be 0x00")
        if len(value) < _HEADER.size:
            raise MalformedRecordError(f"header cut off after {len(value)} of {_HEADER.size} bytes")
        schema_id: int = _HEADER.unpack_from(value)[1]
        walk, writer, reader = self._readers.get(schema_id) or self._learn(schema_id)
        try:
            end = walk(value, _HEADER.size)
        except IndexError:
            raise MalformedRecordError(f"cut off after {len(value)} bytes") from None
        except ValueError as error:
            raise MalformedRecordError(str(error)) from error
        if end != len(value):
            raise MalformedRecordError(f"{len(value) - end} bytes after the record's end")
        try:
            record: Any = schemaless_reader(io.BytesIO(value[_HEADER.size :]), writer, reader)
        except Exception as error:  # the decoder promises no particular exceptions
            raise MalformedRecordError(f"schema id {schema_id}: {type(error).__name__}: {error}") from error
        # The decoder hands out the schema's own default lists; a caller that changed one would change them all.
        return record if reader is None else copy.deepcopy(record)

    def _learn(self, schema_id: int) -> tuple[_Walk, Any, Any]:
        if schema_id in self._refused:
            raise MalformedRecordError(self._refused[schema_id])
        try:
            names: dict[str, Any] = {}
            plain = _plain(self._registry.schema_of(schema_id))
            parsed: Any = parse_schema(plain, names)
            if parsed.get("name") != f"{self._plain['namespace']}.{self._plain['name']}":
                raise ValueError(f"is of {parsed.get('name')}, not of {self._plain['name']}")
            walk, _ = _walker(parsed, names, ())
        except UnknownSchemaIdError as error:  # tomorrow it may be known
            raise MalformedRecordError(str(error)) from error
        except Exception as error:  # a foreign schema can be wrong in any way
            if not is_records_fault(error):
                raise
            # What an id stands for never changes, and the registry has not so many.
            self._refused[schema_id] = f"schema id {schema_id}: {error}"[:_REFUSED_CHARS]
            raise MalformedRecordError(self._refused[schema_id]) from error
        self._readers[schema_id] = walk, parsed, None if plain == self._plain else self._parsed
        return self._readers[schema_id]


def _plain(schema: Schema) -> Schema:
    plain: Schema = without(schema, {"doc", "logicalType"})
    return plain


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _explain(error: ValidationError) -> str:
    """The deepest complaints, each as `field: value: must be type`."""
    lines = []
    for item in error.errors:
        expected = item.schema
        if isinstance(expected, Mapping):
            expected = expected.get("symbols") or expected.get("name") or expected.get("type")
        lines.append(f"{item.field}: {_shown(item.datum)}: must be {expected}")
    return "; ".join(lines)


def _long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    number = byte & 0x7F
    shift = 7
    while byte >= 0x80:
        if shift > 63:
            raise ValueError(f"integer of more than 64 bits before byte {at}")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
    number = (number >> 1) ^ -(number & 1)
    if not _LONG_MIN <= number <= _LONG_MAX:
        raise ValueError(f"integer of more than 64 bits before byte {at}")
    return number, at


def _walk_long(data: bytes, at: int) -> int:
    return at + 1 if data[at] < 0x80 else _long(data, at)[1]


def _walk_int(data: bytes, at: int) -> int:
    number, end = _long(data, at)
    if not _INT_MIN <= number <= _INT_MAX:
        raise ValueError(f"integer of more than 32 bits at byte {at}")
    return end


def _walk_boolean(data: bytes, at: int) -> int:
    if data[at] > 1:
        raise ValueError(f"neither true nor false at byte {at}")
    return at + 1


def _walk_bytes(data: bytes, at: int) -> int:
    length, start = _long(data, at)
    if not 0 <= length <= len(data) - start:
        raise ValueError(f"length {length} at byte {at}, {len(data) - start} bytes are left")
    return start + length


def _walk_fixed(size: int) -> _Walk:
    def walk(data: bytes, at: int) -> int:
        if size > len(data) - at:
            raise ValueError(f"length {size} at byte {at}, {len(data) - at} bytes are left")
        return at + size

    return walk


def _walk_enum(symbols: int) -> _Walk:
    def walk(data: bytes, at: int) -> int:
        index, end = _long(data, at)
        if not 0 <= index < symbols:
            raise ValueError(f"symbol {index} of {symbols} at byte {at}")
        return end

    return walk


def _walk_union(branches: Sequence[_Walk]) -> _Walk:
    def walk(data: bytes, at: int) -> int:
        index, start = _long(data, at)
        if not 0 <= index < len(branches):
            raise ValueError(f"branch {index} of {len(branches)} at byte {at}")
        return branches[index](data, start)

    return walk


def _walk_record(fields: Sequence[_Walk]) -> _Walk:
    def walk(data: bytes, at: int) -> int:
        for field in fields:
            at = field(data, at)
        return at

    return walk


def _walk_blocks(item: _Walk) -> _Walk:
    def walk(data: bytes, at: int) -> int:
        while True:
            count, start = _long(data, at)
            size = None
            if count < 0:
                count = -count
                size, start = _long(data, start)
            if count > len(data) - start:
                raise ValueError(f"{count} items at byte {at}, {len(data) - start} bytes are left")
            at = start
            for _ in range(count):
                at = item(data, at)
            if size is not None and at - start != size:
                raise ValueError(f"block of {size} bytes takes {at - start} at byte {start}")
            if not count:
                return at

    return walk


_PRIMITIVES: Final[Mapping[str, tuple[_Walk, int]]] = {
    "null": (_walk_fixed(0), 0),
    "boolean": (_walk_boolean, 1),
    "int": (_walk_int, 1),
    "long": (_walk_long, 1),
    "float": (_walk_fixed(4), 4),
    "double": (_walk_fixed(8), 8),
    "bytes": (_walk_bytes, 1),
    "string": (_walk_bytes, 1),
}


def _walker(schema: Any, names: Mapping[str, Any], inside: tuple[str, ...]) -> tuple[_Walk, int]:
    """How to walk a parsed schema's values, and the fewest bytes one has; `inside` are the records around it.

    Raises:
        ValueError: values could nest without end, or cost more to read than they have bytes.
    """
    if isinstance(schema, list):
        return _walk_union([_walker(branch, names, inside)[0] for branch in schema]), 1
    kind = schema["type"] if isinstance(schema, Mapping) else schema
    if isinstance(kind, str) and kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    if not isinstance(kind, str) or kind in names:
        return _walker(kind if not isinstance(kind, str) else names[kind], names, inside)
    if kind == "enum":
        return _walk_enum(len(schema["symbols"])), 1
    if kind == "fixed":
        return _walk_fixed(schema["size"]), schema["size"]
    if kind in ("array", "map"):
        item, size = _walker(schema["items" if kind == "array" else "values"], names, inside)
        if kind == "map":
            return _walk_blocks(_walk_record([_walk_bytes, item])), 1
        if not size:
            raise ValueError("has an array of items without any bytes")
        return _walk_blocks(item), 1
    if schema["name"] in inside:
        raise ValueError(f"has {schema['name']} inside of itself")
    walks = [_walker(field["type"], names, (*inside, schema["name"])) for field in schema["fields"]]
    return _walk_record([walk for walk, _ in walks]), sum(size for _, size in walks)
