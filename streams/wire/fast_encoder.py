"""Writes the product's own records: most of the time of a general writer goes into finding a union's branch.

It takes what `records.to_record` returns, and what that is made of: named tuples with the fields of a record in the
order of its schema, builds, days, enums of strings. So the dicts in between, which take as long as the writing, are not
needed. The general writer handles whatever it refuses, and names the error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from streams.domain.exchange.build import Build
from streams.domain.time import days_of

_ONE_BYTE: Final = 0x80
_INT_BITS: Final = 31
_LONG_BITS: Final = 63
_SMALL: Final[list[bytes]] = [bytes((number,)) for number in range(_ONE_BYTE)]
_NULL: Final = b"\0"
_SECOND_BRANCH: Final = b"\2"
_END_OF_BLOCKS: Final = b"\0"
_MANY_TEXTS: Final = 8
_MAX_KNOWN: Final = 256
_MAX_KNOWN_BYTES: Final = 8192
"""Of an array of texts that is remembered."""


def _varint(number: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    if number < _ONE_BYTE:
        return _SMALL[number]
    size, packed = 0, 0
    while number >= _ONE_BYTE:
        packed |= (number & 0x7F | _ONE_BYTE) << size * 8
        number >>= 7
        size += 1
    return (packed | number << size * 8).to_bytes(size + 1, "little")


class Encoder:
    """Appends values of one type to the parts of a record."""

    def write(self, parts: list[bytes], value: object) -> None:
        """Append a value.

        Raises:
            TypeError: it is of another type.
            ValueError: it is none of the type's values.
            KeyError: a field is missing, or a symbol unknown.
        """
        raise NotImplementedError


class _Whole(Encoder):
    def __init__(self, bits: int) -> None:
        self._limit = 1 << bits

    def write(self, parts: list[bytes], value: object) -> None:
        if isinstance(value, int):
            number: int = value
        elif isinstance(value, date):
            number = days_of(value)
        else:
            raise TypeError(f"{value!r}: must be a whole number")
        if not -self._limit <= number < self._limit:
            raise ValueError(f"{number}: does not fit")
        parts.append(_varint(number << 1 if number >= 0 else ~(number << 1)))


class _Flag(Encoder):
    def write(self, parts: list[bytes], value: object) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"{value!r}: must be true or false")
        parts.append(_SMALL[int(value)])


class _Text(Encoder):
    def write(self, parts: list[bytes], value: object) -> None:
        if isinstance(value, str):
            data = value.encode()
        elif isinstance(value, Build):
            data = str(value).encode()
        else:
            raise TypeError(f"{value!r}: must be a text")
        parts.append(_varint(len(data) << 1))
        parts.append(data)


class _Enum(Encoder):
    def __init__(self, symbols: list[str]) -> None:
        self._symbols: dict[str, bytes] = {symbol: _varint(number << 1) for number, symbol in enumerate(symbols)}

    def write(self, parts: list[bytes], value: object) -> None:
        if not isinstance(value, str):
            raise TypeError(f"{value!r}: must be a symbol")
        # The hash of a member of an enum is computed by an interpreted method.
        parts.append(self._symbols[str(value)])


class _Nullable(Encoder):
    def __init__(self, inner: Encoder) -> None:
        self._inner = inner

    def write(self, parts: list[bytes], value: object) -> None:
        if value is None:
            parts.append(_NULL)
        else:
            parts.append(_SECOND_BRANCH)
            self._inner.write(parts, value)


class _Array(Encoder):
    def __init__(self, item: Encoder) -> None:
        self._item = item

    def write(self, parts: list[bytes], value: object) -> None:
        if isinstance(value, tuple):
            items: list[Any] = list(value)
        elif isinstance(value, list):
            items = value
        else:
            raise TypeError(f"{value!r}: must be a list")
        if items:
            parts.append(_varint(len(items) << 1))
            for item in items:
                self._item.write(parts, item)
        parts.append(_END_OF_BLOCKS)


class _Texts(Encoder):
    """An array of texts; those of many texts repeat: the vulnerabilities of a build."""

    def __init__(self) -> None:
        self._text = _Text()
        self._known: dict[tuple[str, ...], bytes] = {}

    def write(self, parts: list[bytes], value: object) -> None:
        if isinstance(value, tuple):
            texts: list[Any] = list(value)
        elif isinstance(value, list):
            texts = value
        else:
            raise TypeError(f"{value!r}: must be a list")
        if len(texts) < _MANY_TEXTS:
            parts.append(self._encoded(texts))
            return
        key = tuple(texts)
        encoded = self._known.get(key)
        if encoded is None:
            encoded = self._encoded(texts)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            if len(encoded) <= _MAX_KNOWN_BYTES:
                self._known[key] = encoded
        parts.append(encoded)

    def _encoded(self, texts: list[Any]) -> bytes:
        parts: list[bytes] = []
        if texts:
            parts.append(_varint(len(texts) << 1))
            for text in texts:
                self._text.write(parts, text)
        parts.append(_END_OF_BLOCKS)
        return b"".join(parts)


class _Record(Encoder):
    def __init__(self, fields: list[tuple[str, Encoder]]) -> None:
        self._fields = fields
        self._names = tuple(name for name, _ in fields)
        self._encoders = [encoder for _, encoder in fields]
        self._in_order: set[type] = set()

    def write(self, parts: list[bytes], value: object) -> None:
        if isinstance(value, tuple):
            if type(value) not in self._in_order:
                self._learn(value)
            for number, encoder in enumerate(self._encoders):
                encoder.write(parts, value[number])
            return
        if not isinstance(value, dict):
            raise TypeError(f"{value!r}: must be a record")
        record: dict[str, Any] = value
        if len(record) != len(self._fields):
            raise ValueError(f"{len(record)} fields: must be {len(self._fields)}")
        for name, encoder in self._fields:
            encoder.write(parts, record[name])

    def _learn(self, value: tuple[Any, ...]) -> None:
        """Let in a type whose fields are those of the record, in their order."""
        if getattr(value, "_fields", ()) != self._names:
            raise TypeError(f"{type(value)}: must have the fields {', '.join(self._names)}")
        self._in_order.add(type(value))


class TupleEncoder:
    """Encodes values that have a record's fields in an order of their own, with nothing made in between."""

    def __init__(self, header: bytes, schema: Any, names: Mapping[str, Any], fields: Sequence[str]) -> None:
        """Encode by the parsed schema of a record, behind a header; `names` has the schema's named types.

        Raises:
            ValueError: the fields are not the record's, or it has a type that the product's records do without.
        """
        if sorted(fields) != sorted(field["name"] for field in schema["fields"]):
            raise ValueError(f"{schema['name']}: has other fields than {', '.join(fields)}")
        self._header, self._count = header, len(fields)
        self._fields: list[tuple[int, Encoder]] = [
            (fields.index(field["name"]), encoder_of(field["type"], names)) for field in schema["fields"]
        ]

    def encode(self, value: tuple[Any, ...]) -> bytes:
        """The record, with its header.

        Raises:
            TypeError: a field is of another type.
            ValueError: it has none of its type's values, or there are more or fewer of them.
            KeyError: a symbol is unknown.
        """
        if len(value) != self._count:
            raise ValueError(f"{len(value)} fields: must be {self._count}")
        parts = [self._header]
        for index, encoder in self._fields:
            encoder.write(parts, value[index])
        return b"".join(parts)


def encoder_of(schema: Any, names: Mapping[str, Any]) -> Encoder:
    """The encoder of a parsed schema; `names` has its named types.

    Raises:
        ValueError: it has a type that the product's records do without.
    """
    if isinstance(schema, list):
        if len(schema) != 2 or schema[0] != "null":
            raise ValueError(f"{schema}: must be a union of null and another type")
        return _Nullable(encoder_of(schema[1], names))
    kind = schema["type"] if isinstance(schema, Mapping) else schema
    match kind:
        case "int":
            return _Whole(_INT_BITS)
        case "long":
            return _Whole(_LONG_BITS)
        case "boolean":
            return _Flag()
        case "string":
            return _Text()
        case "enum":
            return _Enum(list(schema["symbols"]))
        case "array":
            item = encoder_of(schema["items"], names)
            return _Texts() if isinstance(item, _Text) else _Array(item)
        case "record":
            return _Record([(field["name"], encoder_of(field["type"], names)) for field in schema["fields"]])
        case str() if kind in names:
            return encoder_of(names[kind], names)
        case _ if isinstance(kind, str):
            raise ValueError(f"{kind}: no type of the product's records")
        case _:
            return encoder_of(kind, names)
