"""Connectors that claim the same clients: a message could be counted for either tenant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from streams.edge.connectors.entries import MAX_ERRORS, Entry, Network


def overlap_errors(entries: Sequence[Entry]) -> list[str]:
    """A line for each value that two entries claim; empty where no two overlap."""
    return list(islice(_overlaps(entries), MAX_ERRORS))


def _overlaps(entries: Sequence[Entry]) -> Iterator[str]:
    by_name = dict[str, Entry]()
    for entry in entries:
        if (other := by_name.setdefault(entry.name, entry)) is not entry:
            yield f"{_named(entry)}: connector_id: {entry.connector.connector_id!r}: {_named(other)} has it already"
    yield from _same(entries, "tls_subjects")
    yield from _same(entries, "tls_fingerprints")
    yield from _overlapping(entries)


def _same(entries: Sequence[Entry], field: str) -> Iterator[str]:
    claimed = dict[str, Entry]()
    for entry in entries:
        for value in getattr(entry, field):
            if (other := claimed.setdefault(value, entry)) is not entry:
                yield f"{_named(entry)}: match.{field}: {value!r}: {_named(other)} claims it already"


def _overlapping(entries: Sequence[Entry]) -> Iterator[str]:
    """Ranges are disjoint, or one holds the other: in order of their begin, wider first, the open ones are a stack."""
    ranges = [(network, entry) for entry in entries for network in entry.networks]
    ranges.sort(key=lambda pair: (pair[0].version, int(pair[0].network_address), pair[0].prefixlen))
    opened: list[tuple[Network, Entry]] = []
    for network, entry in ranges:
        first = int(network.network_address)
        while opened and (opened[-1][0].version != network.version or int(opened[-1][0].broadcast_address) < first):
            opened.pop()
        for outer, other in opened:
            if other is not entry:
                yield f"{_named(entry)}: match.cidrs: '{network}': overlaps '{outer}' of {_named(other)}"
                break
        opened.append((network, entry))


def _named(entry: Entry) -> str:
    return f"{entry.name} ({entry.source})"
