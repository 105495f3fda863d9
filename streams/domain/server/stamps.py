"""Which build a server's machines have shown lately, so that a stamp that lags takes none back.

A host stamps a message when it takes it in and again when it passes it on, and the two may come from binaries of
different age: a stamp is a lower bound of what the host has. So the highest one counts for a while, unless it is sure
that another machine wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from streams.domain.exchange.build import Build

MAX_STAMPS: Final = 16
"""Stamps that are remembered of one server; of more, the lowest goes, which holds least, and of these the oldest."""


class Stamp(NamedTuple):
    """A build that a machine showed, and when last (UTC milliseconds).

    `by_address` is the address that the topmost line gave its `by` host, empty where it gave none, `source_ip` the
    address that connected. Both tell machines apart.
    """

    build: Build
    seen_at: int
    by_address: str
    source_ip: str


def is_held_above(
    build: Build,
    seen_at: int,
    by_address: str | bytes,
    source_ip: str | bytes,
    highest: Build,
    shown_at: int,
    shown_by_address: str | bytes,
    shown_source_ip: str | bytes,
    holds_ms: int,
) -> bool:
    """Whether a stamp counts for a connection that is taken for `highest` without it: it is higher, and still holds.

    It does for `holds_ms` after it was seen, unless the connection at `shown_at` surely comes from another machine:
    both addresses are known and differ. The addresses are all texts, or all UTF-8.
    """
    return (
        (build.update or 0) > (highest.update or 0)
        and build.cu_line == highest.cu_line
        and shown_at - seen_at < holds_ms
        and (source_ip == shown_source_ip or not shown_by_address or not by_address or by_address == shown_by_address)
    )


def highest_held(stamps: Iterable[Stamp], shown: Stamp, holds_ms: int) -> Build:
    """The build to take a connection's server for: `shown`, or a higher one of its CU line that still holds."""
    highest = shown.build
    for stamp in stamps:
        if is_held_above(
            stamp.build,
            stamp.seen_at,
            stamp.by_address,
            stamp.source_ip,
            highest,
            shown.seen_at,
            shown.by_address,
            shown.source_ip,
            holds_ms,
        ):
            highest = stamp.build
    return highest


def with_stamp(stamps: tuple[Stamp, ...], shown: Stamp, holds_ms: int) -> tuple[Stamp, ...]:
    """The stamps with one more; one that is known already only has another moment.

    A new one puts out of memory what cannot hold any longer: older than `holds_ms`, or lower and of the same machine.
    """
    for index, stamp in enumerate(stamps):
        if stamp[0] == shown.build and stamp[2:] == shown[2:]:
            seen_at = max(stamp.seen_at, shown.seen_at)
            return (*stamps[:index], stamp._replace(seen_at=seen_at), *stamps[index + 1 :])
    kept = [stamp for stamp in stamps if not _is_outdated(stamp, shown, holds_ms)]
    kept.append(shown)
    if len(kept) > MAX_STAMPS:
        kept.remove(min(kept, key=_worth))
    return tuple(kept)


def _worth(stamp: Stamp) -> tuple[tuple[int, int, int], int, int]:
    return stamp.build.cu_line, stamp.build.update or 0, stamp.seen_at


def _is_outdated(stamp: Stamp, shown: Stamp, holds_ms: int) -> bool:
    if shown.seen_at - stamp.seen_at >= holds_ms:
        return True
    is_same_machine = stamp.by_address == shown.by_address and stamp.source_ip == shown.source_ip
    is_same_line = stamp.build.cu_line == shown.build.cu_line
    return is_same_machine and is_same_line and (stamp.build.update or 0) <= (shown.build.update or 0)
