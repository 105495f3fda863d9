"""Finds the connector of a client: by the fingerprint, then the subject of its certificate, then its address."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from streams.domain.exchange.names import canonical_name
from streams.edge.client import Client, Connector
from streams.edge.connectors.entries import Entry

_V4_BITS, _V6_BITS = 32, 128


class Matcher:
    """The connectors in force, looked up in a few microseconds however many there are."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        """Match clients of these; no two claim the same."""
        self._by_fingerprint = {value: entry.connector for entry in entries for value in entry.tls_fingerprints}
        self._by_subject = {value: entry.connector for entry in entries for value in entry.tls_subjects}
        # For each length of a prefix, the longest first: how far to shift an address, and the networks by what is left.
        self._v4, self._v6 = _tables(entries, 4, _V4_BITS), _tables(entries, 6, _V6_BITS)

    def find(self, client: Client) -> Connector | None:
        """See `ports.Connectors`."""
        if client.tls_fingerprint is not None:
            found = self._by_fingerprint.get(client.tls_fingerprint)
            if found is not None:
                return found
        if client.tls_subject is not None and self._by_subject:
            name = canonical_name(client.tls_subject)
            if name is not None and (found := self._by_subject.get(name)) is not None:
                return found
        return self._by_address(client.source_ip)

    def _by_address(self, address: str) -> Connector | None:
        family, tables = (socket.AF_INET6, self._v6) if ":" in address else (socket.AF_INET, self._v4)
        if not tables:
            return None
        try:
            number = int.from_bytes(socket.inet_pton(family, address), "big")
        except (OSError, ValueError):
            return None
        for shift, networks in tables:
            if (found := networks.get(number >> shift)) is not None:
                return found
        return None


def _tables(entries: Sequence[Entry], version: int, bits: int) -> list[tuple[int, dict[int, Connector]]]:
    tables: dict[int, dict[int, Connector]] = {}
    for entry in entries:
        for network in entry.networks:
            if network.version == version:
                shift = bits - network.prefixlen
                tables.setdefault(shift, {})[int(network.network_address) >> shift] = entry.connector
    return sorted(tables.items())
