"""Reads the product's own records: a general reader takes a multiple of the time.

It takes what the product writes and refuses anything else: numbers wider than their type, symbols that are not there,
arrays with sizes. The general reader handles whatever it refuses, and names the error. A record of another version of
the schema gets what this version has, in the order in which the general reader gives it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

_ONE_BYTE: Final = 0x80
_INT_MIN: Final = -(2**31)
_INT_MAX: Final = 2**31 - 1
_LONGEST_SHIFT: Final = 63
"""Of the tenth byte, which is a number's last."""
_MOST: Final = 2**64


class Cursor:
    """Where in a value its next item begins."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        self.at: int = at


class Decoder:
    """Takes values of one type out of a record."""

    def read(self, data: bytes, cursor: Cursor) -> object:
        """The value that begins at the cursor, which moves behind it.

        Raises:
            ValueError: it is none of the type's values, or is written as the product does not write it.
            IndexError: the bytes end before it does.
        """
        raise NotImplementedError


def _number(data: bytes, cursor: Cursor) -> int:
    at = cursor.at
    byte = data[at]
    number, shift = byte & 0x7F, 7
    while byte >= _ONE_BYTE:
        if shift > _LONGEST_SHIFT:
            raise ValueError("a number of more than ten bytes")
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        shift += 7
    if shift > _LONGEST_SHIFT and number >= _MOST:
        raise ValueError("a number of more than 64 bits")
    cursor.at = at + 1
    return (number >> 1) ^ -(number & 1)


class _Long(Decoder):
    def read(self, data: bytes, cursor: Cursor) -> object:
        return _number(data, cursor)


class _Int(Decoder):
    def read(self, data: bytes, cursor: Cursor) -> object:
        number = _number(data, cursor)
        if not _INT_MIN <= number <= _INT_MAX:
            raise ValueError("a number of more than 32 bits")
        return number


class _Flag(Decoder):
    def read(self, data: bytes, cursor: Cursor) -> object:
        byte = data[cursor.at]
        if byte > 1:
            raise ValueError("neither true nor false")
        cursor.at += 1
        return byte == 1


class _Text(Decoder):
    def read(self, data: bytes, cursor: Cursor) -> object:
        length = _number(data, cursor)
        begin = cursor.at
        end = begin + length
        if length < 0 or end > len(data):
            raise ValueError("the length of a text")
        cursor.at = end
        return data[begin:end].decode()


class _Enum(Decoder):
    def __init__(self, symbols: list[str]) -> None:
        self._symbols = symbols

    def read(self, data: bytes, cursor: Cursor) -> object:
        number = _number(data, cursor)
        if number < 0:
            raise ValueError("a symbol before the first")
        return self._symbols[number]


class _Nullable(Decoder):
    def __init__(self, inner: Decoder) -> None:
        self._inner = inner

    def read(self, data: bytes, cursor: Cursor) -> object:
        branch = data[cursor.at]
        cursor.at += 1
        if not branch:
            return None
        if branch != 2:
            raise ValueError("no branch of a union")
        return self._inner.read(data, cursor)


class _Array(Decoder):
    def __init__(self, item: Decoder) -> None:
        self._item = item

    def read(self, data: bytes, cursor: Cursor) -> object:
        items: list[object] = []
        count = _number(data, cursor)
        while count:
            # An item may take no byte, but none of the product's does.
            if not 0 < count <= len(data) - cursor.at:
                raise ValueError("the count of an array")
            items.extend([self._item.read(data, cursor) for _ in range(count)])
            count = _number(data, cursor)
        return items


class _Record(Decoder):
    def __init__(self, names: list[str], decoders: list[Decoder], others: dict[str, Any], unknown: list[str]) -> None:
        self._names, self._decoders, self._others, self._unknown = names, decoders, others, unknown

    def read(self, data: bytes, cursor: Cursor) -> object:
        record: dict[str, object] = {}
        for number, name in enumerate(self._names):
            record[name] = self._decoders[number].read(data, cursor)
        for name, default in self._others.items():
            # A caller may change what it gets.
            record[name] = copy.deepcopy(default) if isinstance(default, list | dict) else default
        for name in self._unknown:
            del record[name]
        return record


def decode_record(decoder: Decoder, data: bytes, at: int) -> dict[str, Any]:
    """The record that begins at a place and ends with the bytes.

    Raises:
        ValueError, IndexError: the general reader has to look at it.
    """
    cursor = Cursor(at)
    record = decoder.read(data, cursor)
    if cursor.at != len(data) or not isinstance(record, dict):
        raise ValueError("no record, or bytes after its end")
    return record


def decoder_of(writer: Any, names: Mapping[str, Any], reader: Any, known: Mapping[str, Any]) -> Decoder:
    """The decoder of what a parsed schema wrote, for those who read by another or the same one.

    Args:
        writer: the schema that wrote.
        names: its named types.
        reader: the schema that is read by.
        known: its named types.

    Raises:
        ValueError: the product's records have no such type, or none that becomes such another one.
    """
    writer, reader = _named(writer, names), _named(reader, known)
    if isinstance(writer, list) or isinstance(reader, list):
        if not (_is_nullable(writer) and _is_nullable(reader)):
            raise ValueError(f"{writer}, {reader}: must be unions of null and another type")
        return _Nullable(decoder_of(writer[1], names, reader[1], known))
    kind = writer["type"] if isinstance(writer, Mapping) else writer
    if kind != (reader["type"] if isinstance(reader, Mapping) else reader):
        raise ValueError(f"{writer}, {reader}: must be of one type")
    match kind:
        case "int":
            return _Int()
        case "long":
            return _Long()
        case "boolean":
            return _Flag()
        case "string":
            return _Text()
        case "enum":
            return _Enum(_symbols(writer, reader))
        case "array":
            return _Array(decoder_of(writer["items"], names, reader["items"], known))
        case "record":
            return _record_of(writer, names, reader, known)
        case _:
            raise ValueError(f"{kind}: no type of the product's records")


def _named(schema: Any, names: Mapping[str, Any]) -> Any:
    """A schema in the place of its name, and of what only says its type."""
    while True:
        if isinstance(schema, str) and schema in names:
            schema = names[schema]
        elif isinstance(schema, Mapping) and not isinstance(schema["type"], str):
            schema = schema["type"]
        elif isinstance(schema, Mapping) and schema["type"] in names:
            schema = names[schema["type"]]
        else:
            return schema


def _is_nullable(schema: Any) -> bool:
    return isinstance(schema, list) and len(schema) == 2 and schema[0] == "null"


def _symbols(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> list[str]:
    symbols: list[Any] = [
        symbol if symbol in reader["symbols"] else reader.get("default") for symbol in writer["symbols"]
    ]
    if None in symbols or writer["name"] != reader["name"]:
        raise ValueError(f"{writer['name']}, {reader['name']}: must have the same symbols")
    return symbols


def _record_of(
    writer: Mapping[str, Any], names: Mapping[str, Any], reader: Mapping[str, Any], known: Mapping[str, Any]
) -> Decoder:
    wanted = {field["name"]: field for field in reader["fields"]}
    if writer["name"] != reader["name"] or any("aliases" in field for field in reader["fields"]):
        raise ValueError(f"{writer['name']}, {reader['name']}: must have the same names")
    decoders = []
    for field in writer["fields"]:
        by, by_names = (wanted[field["name"]], known) if field["name"] in wanted else (field, names)
        decoders.append(decoder_of(field["type"], names, by["type"], by_names))
    written = [field["name"] for field in writer["fields"]]
    # One without a default is none that a record of the other schema has.
    others = {name: field["default"] for name, field in wanted.items() if name not in written and "default" in field}
    if missing := [name for name in wanted if name not in written and name not in others]:
        raise ValueError(f"{missing[0]}: has no default")
    return _Record(written, decoders, others, [name for name in written if name not in wanted])
