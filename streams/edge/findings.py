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
        self._refused: set[bytes] = set()

    def of(self, client: bytes) -> Sequence[ClientFinding]:
        """The last ones of a client, newest last."""
        return self._clients.get(client, ())

    def of_refused(self, client: bytes) -> Sequence[ClientFinding]:
        """The same of a client whose last message seen in full was refused; none of any other, which are nearly all."""
        return self._clients.get(client, ()) if client in self._refused else ()

    def add(self, client: bytes, finding: ClientFinding, *, is_refused: bool = False) -> bool:
        """Remember a finding, of a message that was let in or not.

        Returns whether it shows anything that the one before it did not.
        """
        if is_refused:
            self._refused.add(client)
        else:
            self._refused.discard(client)
        before = self._clients.pop(client, ())
        if before and before[-1].server == finding.server:
            server, (_, made_at, has_passed, build) = before[-1].server, finding
            finding = ClientFinding(server, made_at, has_passed, build)  # the server once in memory
        is_new = not before or (before[-1].server, before[-1].build) != (finding.server, finding.build)
        self._clients[client] = (*before[1 - FINDINGS_OF_ONE_SERVER :], finding)
        if len(self._clients) > self._most:
            oldest, _ = self._clients.popitem(last=False)
            self._refused.discard(oldest)
        return is_new

    def forget(self, client: bytes) -> None:
        """A message of this client could not be read."""
        self._clients.pop(client, None)
        self._refused.discard(client)
