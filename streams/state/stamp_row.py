"""Builds and stamps as a server's row holds them."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from streams.domain.exchange.build import Build
from streams.domain.server.stamps import Stamp, is_held_above
from streams.engine.ports import StoreError

BUILD: Final = struct.Struct(">4i")
_STAMP: Final = struct.Struct(">q4iBB")
"""Moment, build, and the lengths of both addresses, which follow."""
_BUILD_IN_STAMP: Final = 8
_NO_UPDATE: Final = -1


def numbers_of(build: Build) -> tuple[int, int, int, int]:
    """The numbers that stand for a build."""
    return build.major, build.minor, build.line, _NO_UPDATE if build.update is None else build.update


@lru_cache(1024)  # many servers have the same
def build_of(value: bytes) -> Build:
    """The build of four numbers."""
    major, minor, line, update = BUILD.unpack(value)
    return Build(major, minor, line, None if update == _NO_UPDATE else update)


class StampRow:
    """A stamp in a row of the store; `at` is where the row has its moment, which alone changes."""

    __slots__ = ("at", "build", "by_address", "seen_at", "source_ip")

    def __init__(self, build: Build, seen_at: int, by_address: bytes, source_ip: bytes, at: int) -> None:
        self.build, self.seen_at, self.by_address, self.source_ip = build, seen_at, by_address, source_ip
        self.at = at

    def stamp(self) -> Stamp:
        """The stamp."""
        return Stamp(self.build, self.seen_at, self.by_address.decode(), self.source_ip.decode())


def encode_stamp(stamp: Stamp) -> bytes:
    """The stamp's part of a row."""
    by_address, source_ip = stamp.by_address.encode(), stamp.source_ip.encode()
    return (
        _STAMP.pack(stamp.seen_at, *numbers_of(stamp.build), len(by_address), len(source_ip)) + by_address + source_ip
    )


def read_stamps(value: bytearray, at: int, count: int) -> tuple[list[StampRow], int]:
    """The stamps that begin at `at`, and where they end.

    Raises:
        StoreError: the row ends before them.
    """
    rows = []
    size = len(value)
    for _ in range(count):
        if at + _STAMP.size > size:
            raise StoreError(f"state {bytes(value[:60])!r}: corrupt: {size} bytes")
        found = _STAMP.unpack_from(value, at)
        build = build_of(bytes(value[at + _BUILD_IN_STAMP : at + _BUILD_IN_STAMP + BUILD.size]))
        by_at = at + _STAMP.size
        ip_at = by_at + found[5]
        end = ip_at + found[6]
        rows.append(StampRow(build, found[0], bytes(value[by_at:ip_at]), bytes(value[ip_at:end]), at))
        at = end
    if at > size:
        raise StoreError(f"state {bytes(value[:60])!r}: corrupt: {size} bytes")
    return rows, at


def repeated_stamp(
    stamps: list[StampRow],
    believed: Build | None,
    build: Build,
    by_address: bytes,
    source_ip: bytes,
    observed_at: int,
    holds_ms: int,
) -> StampRow | None:
    """The stamp that a connection repeats, where `believed` is the build to take its server for; None otherwise."""
    if len(stamps) == 1:
        only = stamps[0]
        repeats = only.source_ip == source_ip and only.by_address == by_address and only.build == build
        return only if repeats and build == believed else None
    repeated: StampRow | None = None
    highest = build
    for stamp in stamps:
        if stamp.source_ip == source_ip and stamp.by_address == by_address and stamp.build == build:
            repeated = stamp
        elif is_held_above(
            stamp.build,
            stamp.seen_at,
            stamp.by_address,
            stamp.source_ip,
            highest,
            observed_at,
            by_address,
            source_ip,
            holds_ms,
        ):
            highest = stamp.build
    return repeated if highest == believed else None
