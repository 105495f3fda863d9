"""Where a value in Avro's binary form ends, by its schema, without decoding it.

What a decoder takes for granted is checked: the indices of enums and unions, the width of integers, the count of items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1

Walk = Callable[[bytes, int], int]
"""Takes a value and where an item starts; returns where it ends. Raises ValueError or IndexError if it has no end."""


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


def _walk_fixed(size: int) -> Walk:
    def walk(data: bytes, at: int) -> int:
        if size > len(data) - at:
            raise ValueError(f"length {size} at byte {at}, {len(data) - at} bytes are left")
        return at + size

    return walk


def _walk_enum(symbols: int) -> Walk:
    def walk(data: bytes, at: int) -> int:
        index, end = _long(data, at)
        if not 0 <= index < symbols:
            raise ValueError(f"symbol {index} of {symbols} at byte {at}")
        return end

    return walk


def _walk_union(branches: Sequence[Walk]) -> Walk:
    def walk(data: bytes, at: int) -> int:
        index, start = _long(data, at)
        if not 0 <= index < len(branches):
            raise ValueError(f"branch {index} of {len(branches)} at byte {at}")
        return branches[index](data, start)

    return walk


def _walk_record(fields: Sequence[Walk]) -> Walk:
    def walk(data: bytes, at: int) -> int:
        for field in fields:
            at = field(data, at)
        return at

    return walk


def _walk_blocks(item: Walk) -> Walk:
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


_PRIMITIVES: Final[Mapping[str, tuple[Walk, int]]] = {
    "null": (_walk_fixed(0), 0),
    "boolean": (_walk_boolean, 1),
    "int": (_walk_int, 1),
    "long": (_walk_long, 1),
    "float": (_walk_fixed(4), 4),
    "double": (_walk_fixed(8), 8),
    "bytes": (_walk_bytes, 1),
    "string": (_walk_bytes, 1),
}


def walker_of(schema: Any, names: Mapping[str, Any], inside: tuple[str, ...]) -> tuple[Walk, int]:
    """How to walk a parsed schema's values, and the fewest bytes one has; `inside` are the records around it.

    Raises:
        ValueError: values could nest without end, or cost more to read than they have bytes.
    """
    if isinstance(schema, list):
        return _walk_union([walker_of(branch, names, inside)[0] for branch in schema]), 1
    kind = schema["type"] if isinstance(schema, Mapping) else schema
    if isinstance(kind, str) and kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    if not isinstance(kind, str) or kind in names:
        return walker_of(kind if not isinstance(kind, str) else names[kind], names, inside)
    if kind == "enum":
        return _walk_enum(len(schema["symbols"])), 1
    if kind == "fixed":
        return _walk_fixed(schema["size"]), schema["size"]
    if kind in ("array", "map"):
        item, size = walker_of(schema["items" if kind == "array" else "values"], names, inside)
        if kind == "map":
            return _walk_blocks(_walk_record([_walk_bytes, item])), 1
        if not size:
            raise ValueError("has an array of items without any bytes")
        return _walk_blocks(item), 1
    if schema["name"] in inside:
        raise ValueError(f"contains {schema['name']} recursively")
    walks = [walker_of(field["type"], names, (*inside, schema["name"])) for field in schema["fields"]]
    return _walk_record([walk for walk, _ in walks]), sum(size for _, size in walks)
