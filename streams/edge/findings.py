"""What the last messages of each client showed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from streams.domain.edge import FINDINGS_OF_ONE_SERVER, ClientFinding

MAX_CLIENTS: Final = 50_000
"""Whose findings are kept, those that came last: about 1 KB each."""


class Findings:
    """The last findings of each client."""

    def __init__(self, most: int = MAX_CLIENTS) -> None:
        self._most = most
        self._clients: OrderedDict[bytes, tuple[ClientFinding, ...]] = OrderedDict()

    def of(self, client: bytes) -> Sequence[ClientFinding]:
        """The last ones of a client, newest last."""
        return self._clients.get(client, ())

    def add(self, client: bytes, finding: ClientFinding) -> bool:
        """Remember a finding; returns whether it shows anything that the one before it did not."""
        before = self._clients.pop(client, ())
        if before and before[-1].server == finding.server:
            server, (_, made_at, has_passed, build) = before[-1].server, finding
            finding = ClientFinding(server, made_at, has_passed, build)  # the server once in memory
        is_new = not before or (before[-1].server, before[-1].build) != (finding.server, finding.build)
        self._clients[client] = (*before[1 - FINDINGS_OF_ONE_SERVER :], finding)
        if len(self._clients) > self._most:
            self._clients.popitem(last=False)
        return is_new

    def forget(self, client: bytes) -> None:
        """A message of this client could not be read."""
        self._clients.pop(client, None)
