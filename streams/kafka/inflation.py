"""Decompresses what producers sent, and stops where it becomes more than a worker's memory should hold.

A megabyte of compressed zeros becomes a gigabyte. aiokafka decompresses a batch of records as a whole, so its decoders
are replaced by these, for all of its consumers, Faust's included. The broker does the same for input topics that
`tes topics create` made: it stores them uncompressed, and refuses what becomes larger than `max.message.bytes`. These
decoders hold for every topic, whoever made it.

Importing this module puts them in place.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import cramjam
from aiokafka.record import default_records, legacy_records

MAX_INFLATED_BYTES: Final = 32 << 20
"""Of one batch: twice what the input topics take uncompressed."""
CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
"""By their number in a batch's attributes."""

_LZ4_RATIO: Final = 255
_FIRST_RATIO: Final = 8
"""Most batches become less than this many times as large."""
_GROWTH: Final = 8
_FIRST_BYTES: Final = 64 << 10
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_BYTES: Final = 16
_FULL = "failed to write whole buffer"
"""What cramjam says of a buffer that is too small."""


class InflationError(ValueError):
    """A batch is damaged, or becomes larger than it may."""


class TooLargeError(InflationError):
    """A batch becomes larger than it may."""

    def __init__(self) -> None:
        super().__init__(f"inflates to more than {MAX_INFLATED_BYTES} bytes")


def gunzip(payload: Any) -> bytes:
    """The content of one or more gzip members.

    Raises:
        InflationError: it is damaged or too large.
    """
    parts, size, left = [], 0, bytes(payload)
    while left:
        member = zlib.decompressobj(wbits=31)
        try:
            part = member.decompress(left, MAX_INFLATED_BYTES - size + 1)
        except zlib.error as error:
            raise InflationError(f"gzip: {error}") from None
        size += len(part)
        if size > MAX_INFLATED_BYTES:
            raise TooLargeError
        if not member.eof:
            raise InflationError("gzip: cut off")
        parts.append(part)
        left = member.unused_data.lstrip(b"\0")  # padding may follow a member
    return parts[0] if len(parts) == 1 else b"".join(parts)


def unsnap(payload: Any) -> bytes:
    """The content of one snappy block, or of those in a stream as Java writes it.

    Raises:
        InflationError: it is damaged or too large.
    """
    data = bytes(payload)
    if not data.startswith(_XERIAL) or len(data) < _XERIAL_BYTES:
        return _snappy_block(data, MAX_INFLATED_BYTES)
    parts, at, room = [], _XERIAL_BYTES, MAX_INFLATED_BYTES
    while at < len(data):
        if len(data) - at < 4:
            raise InflationError("snappy: cut off")
        (length,) = struct.unpack_from(">i", data, at)
        at += 4
        if not 0 < length <= len(data) - at:
            raise InflationError(f"snappy: a block of {length} bytes, {len(data) - at} are left")
        parts.append(_snappy_block(data[at : at + length], room))
        room -= len(parts[-1])
        at += length
    return b"".join(parts)


def _snappy_block(block: bytes, room: int) -> bytes:
    try:
        if cramjam.snappy.decompress_raw_len(block) > room:
            raise TooLargeError
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise InflationError(f"snappy: {error}") from None


def unlz4(payload: Any) -> bytes:
    """The content of LZ4 frames.

    Raises:
        InflationError: it is damaged or too large.
    """
    data = bytes(payload)
    if len(data) * _LZ4_RATIO > MAX_INFLATED_BYTES:
        return _into_buffer("lz4", cramjam.lz4.decompress_into, data)
    try:
        return bytes(cramjam.lz4.decompress(data))
    except cramjam.DecompressionError as error:
        raise InflationError(f"lz4: {error}") from None


def unzstd(payload: Any) -> bytes:
    """The content of Zstandard frames.

    Raises:
        InflationError: it is damaged or too large.
    """
    return _into_buffer("zstd", cramjam.zstd.decompress_into, bytes(payload))


def _into_buffer(codec: str, decompress_into: Callable[[bytes, bytearray], int], data: bytes) -> bytes:
    size = max(_FIRST_BYTES, _FIRST_RATIO * len(data))
    while True:
        buffer = bytearray(min(size, MAX_INFLATED_BYTES))
        try:
            length = decompress_into(data, buffer)
        except cramjam.DecompressionError as error:
            if _FULL not in str(error):
                raise InflationError(f"{codec}: {error}") from None
            if size >= MAX_INFLATED_BYTES:
                raise TooLargeError from None
        else:
            return bytes(memoryview(buffer)[:length])
        size *= _GROWTH


def _install() -> None:
    # aiokafka's modules look these up when they decompress, the compiled ones too.
    from aiokafka.record._crecords import default_records as compiled
    from aiokafka.record._crecords import legacy_records as compiled_legacy

    decoders = {"gzip_decode": gunzip, "snappy_decode": unsnap, "lz4_decode": unlz4, "zstd_decode": unzstd}
    for module in (default_records, legacy_records, compiled, compiled_legacy):
        for name, decode in decoders.items():
            if hasattr(module, name):
                setattr(module, name, decode)


_install()
