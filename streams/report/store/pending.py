"""A batch that waits to be written, with what is prepared of it while the one in front of it is written."""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

from streams.report.model.batch import Batch
from streams.report.store.folding import FoldedServers


class Ahead(NamedTuple):
    """Servers that were folded ahead, and where that holds.

    `behind` is the batch that had to be written first, as it was folded then. `version` is what the versions of all
    tenants come to where nothing but that was written: whatever changes a server changes its tenant's.
    """

    servers: FoldedServers
    behind: PendingBatch
    behind_servers: FoldedServers
    version: int


class PendingBatch:
    """A batch, and how far it has come.

    Attributes:
        batch: the batch.
        is_folded: done when the next one can be folded behind this one.
        servers: its servers, folded; None before.
        changes: by how much the versions of all tenants grow with it.
        is_written: whether it was committed whole, as `servers` has it.
        ahead: what was folded before its transaction; None where nothing was, and when it is written.
    """

    def __init__(self, batch: Batch) -> None:
        """Begin with nothing."""
        self.batch = batch
        self.is_folded: Future[None] = Future()
        self.servers: FoldedServers | None = None
        self.changes = 0
        self.is_written = False
        self.ahead: Ahead | None = None

    def fold(self, servers: FoldedServers, changes: int) -> None:
        """Its servers are folded, in the transaction that writes them."""
        self.servers, self.changes = servers, changes
        if not self.is_folded.done():
            self.is_folded.set_result(None)

    def end(self) -> None:
        """It is committed whole.

        What it was folded behind is let go: each batch would keep the one in front of it, and so all of them.
        """
        self.is_written, self.ahead = True, None
