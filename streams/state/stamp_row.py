"""Builds and stamps as a server's row holds them."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from streams.domain.exchange.build import Build
from streams.domain.server.stamps import Stamp, is_held_above

BUILD: Final = struct.Struct(">4i")
_STAMP: Final = struct.Struct(">q4iBB")
"""Moment, build, and the lengths of both addresses, which follow."""
STAMP_MOMENT, _STAMP_REST = struct.Struct(">q"), struct.Struct(">4iBB")
"""The same in two parts: only the moment changes."""
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
    """A stamp as a row of the store holds it; only its moment changes."""

    __slots__ = ("build", "by_address", "fixed", "seen_at", "source_ip")

    def __init__(self, build: Build, seen_at: int, by_address: bytes, source_ip: bytes) -> None:
        self.build, self.seen_at, self.by_address, self.source_ip = build, seen_at, by_address, source_ip
        major, minor, line, update = numbers_of(build)
        lengths = len(by_address), len(source_ip)
        self.fixed: bytes = _STAMP_REST.pack(major, minor, line, update, *lengths) + by_address + source_ip

    def stamp(self) -> Stamp:
        """The stamp."""
        return Stamp(self.build, self.seen_at, self.by_address.decode(), self.source_ip.decode())

    def encode(self) -> bytes:
        """The stamp's part of a row."""
        return STAMP_MOMENT.pack(self.seen_at) + self.fixed


def read_stamps(value: bytes, at: int, count: int) -> tuple[list[StampRow], int]:
    """The stamps that begin at `at`, and where they end."""
    rows = []
    for _ in range(count):
        found = _STAMP.unpack_from(value, at)
        build = build_of(value[at + 8 : at + 8 + BUILD.size])
        by_at = at + _STAMP.size
        ip_at = by_at + found[5]
        at = ip_at + found[6]
        rows.append(StampRow(build, found[0], value[by_at:ip_at], value[ip_at:at]))
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
