"""Records to bytes and back: Avro behind the Confluent header (0x00, 4-byte big-endian schema id).

Every value is walked by `walker_of` before it is decoded: the decoder underneath takes negative indices of enums and
unions, integers wider than their type and endless arrays of nothing for granted.
"""

from __future__ import annotations

import copy
import io
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.validation import ValidationError, validate

from streams.errors import is_records_fault
from streams.wire.fast_decoder import Decoder, decode_record, decoder_of
from streams.wire.fast_encoder import TupleEncoder, encoder_of
from streams.wire.records import to_record
from streams.wire.registry import SchemaRegistry, UnknownSchemaIdError
from streams.wire.schemas import SUBJECTS, Schema, load_schema, without
from streams.wire.walkers import Walk, walker_of

MAX_VALUE_BYTES: Final = 1_048_576
"""Longest value that is taken or made, header included, unless the codec is told otherwise."""

_HEADER = struct.Struct(">bI")
_SHOWN_CHARS = 120
_REFUSED_CHARS = 500


class MalformedRecordError(ValueError):
    """Bytes that are no record of the expected kind; the message says why. Trying again will not help."""


class UnknownSchemaError(MalformedRecordError):
    """The registry does not know the schema that a value names; it may some day."""

    def __init__(self, why: str, schema_id: int) -> None:
        super().__init__(why)
        self.schema_id = schema_id


class RecordEncodingError(ValueError):
    """A record that does not fit its schema; the message names the field and its value."""


class AvroCodec:
    """Encodes and decodes the records of one schema.

    Times are integers (milliseconds since 1970, UTC), dates are integers (days since 1970), enums are strings.
    """

    def __init__(
        self,
        name: str,
        registry: SchemaRegistry,
        *,
        max_bytes: int = MAX_VALUE_BYTES,
        is_checked: bool = True,
        is_walked: bool = True,
    ) -> None:
        """Serve the schema `name`, such as `verdict`; values may have up to `max_bytes`, header included.

        Records that this product builds from its own types need not be `is_checked` before they are written; the check
        takes most of the time. One that does not fit is checked all the same.

        Values of topics that only this product may write to need not be walked before they are decoded, which takes
        half of the time. What is none of the schema is refused then too, but for integers that are wider than their
        type and symbols that are counted from the end.

        Raises:
            ValueError: there is no such schema.
        """
        self._schema = load_schema(name)
        self._subject = SUBJECTS[name]
        self._registry = registry
        self._max_bytes, self._is_walked = max_bytes, is_walked
        self._plain = _plain(self._schema)
        names: dict[str, Any] = {}
        self._parsed: Any = parse_schema(self._plain, names)
        self._names = names
        self._encoder = None if is_checked else encoder_of(self._parsed, names)
        self._schema_id: int | None = None
        self._readers: dict[int, tuple[Walk, Decoder | None, Any, Any]] = {}
        self._refused: dict[int, str] = {}

    def learn_id(self) -> int:
        """The id of the schema that it writes by; a registry is asked for it once.

        Raises:
            DependencyError: the registry did not answer, or does not have the schema.
        """
        if self._schema_id is None:
            self._schema_id = self._registry.id_of(self._subject, self._schema)
        return self._schema_id

    def tuple_encoder(self, fields: Sequence[str]) -> TupleEncoder:
        """What encodes values with these fields, in their order; it checks types, and no length.

        Raises:
            ValueError: they are not the schema's fields.
            UnregisteredSchemaError: the registry does not know the schema.
            RegistryError: the registry did not answer.
        """
        return TupleEncoder(_HEADER.pack(0, self.learn_id()), self._parsed, self._names, fields)

    def encode(self, record: dict[str, Any] | tuple[Any, ...]) -> bytes:
        """The record's value; a missing field takes its default.

        A domain object that is a named tuple need not become a dict first: see `fast_encoder`.

        Raises:
            RecordEncodingError: a field is missing, unknown or of the wrong type, or the value is too long.
            UnregisteredSchemaError: the registry does not know the schema.
            RegistryError: the registry did not answer.
        """
        header = _HEADER.pack(0, self.learn_id())
        value = self._packed(record, header) or self._checked(to_record(record), header)
        if len(value) > self._max_bytes:
            raise RecordEncodingError(f"{self._plain['name']}: {len(value)} bytes, more than {self._max_bytes}")
        return value

    def _packed(self, record: dict[str, Any] | tuple[Any, ...], header: bytes) -> bytes | None:
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
            UnknownSchemaError: nobody can say, as the registry does not know its schema.
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
        walk, decoder, writer, reader = self._readers.get(schema_id) or self._learn(schema_id)
        if self._is_walked:
            _walk_whole(walk, value)
        elif decoder is not None:
            try:
                return decode_record(decoder, value, _HEADER.size)
            except (ValueError, IndexError):
                pass  # the reader underneath takes it, or names what is wrong
        source = io.BytesIO(value)
        source.seek(_HEADER.size)
        try:
            record: Any = schemaless_reader(source, writer, reader)
        except Exception as error:  # the decoder promises no particular exceptions
            raise MalformedRecordError(f"schema id {schema_id}: {type(error).__name__}: {error}") from error
        if source.tell() != len(value):
            raise MalformedRecordError(f"{len(value) - source.tell()} bytes after the record's end")
        # The decoder hands out the schema's own default lists; a caller that changed one would change them all.
        return record if reader is None else copy.deepcopy(record)

    def _learn(self, schema_id: int) -> tuple[Walk, Decoder | None, Any, Any]:
        if schema_id in self._refused:
            raise MalformedRecordError(self._refused[schema_id])
        try:
            names: dict[str, Any] = {}
            plain = _plain(self._registry.schema_of(schema_id))
            parsed: Any = parse_schema(plain, names)
            if parsed.get("name") != f"{self._plain['namespace']}.{self._plain['name']}":
                raise ValueError(f"is of {parsed.get('name')}, not of {self._plain['name']}")
            walk, _ = walker_of(parsed, names, ())
        except UnknownSchemaIdError as error:  # tomorrow it may be known
            raise UnknownSchemaError(str(error), schema_id) from error
        except Exception as error:  # a foreign schema can be wrong in any way
            if not is_records_fault(error):
                raise
            # What an id stands for never changes, and the registry has not so many.
            self._refused[schema_id] = f"schema id {schema_id}: {error}"[:_REFUSED_CHARS]
            raise MalformedRecordError(self._refused[schema_id]) from error
        decoder = None
        with suppress(ValueError):
            decoder = decoder_of(parsed, names, self._parsed, self._names)
        self._readers[schema_id] = walk, decoder, parsed, None if plain == self._plain else self._parsed
        return self._readers[schema_id]


def _walk_whole(walk: Walk, value: bytes) -> None:
    """Refuse a value that is not exactly one record.

    Raises:
        MalformedRecordError: it is not.
    """
    try:
        end = walk(value, _HEADER.size)
    except IndexError:
        raise MalformedRecordError(f"cut off after {len(value)} bytes") from None
    except ValueError as error:
        raise MalformedRecordError(str(error)) from error
    if end != len(value):
        raise MalformedRecordError(f"{len(value) - end} bytes after the record's end")


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
