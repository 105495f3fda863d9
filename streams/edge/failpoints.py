"""A spool around which tests kill the door (`TES_EDGE_CRASH_AT`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streams.edge.ports import Spool, SpooledEvent


class FailingSpool:
    """Reaches a named point before and behind each write of another spool; nobody was answered yet then."""

    def __init__(self, spool: Spool, failpoint: Callable[[str], None]) -> None:
        """Call `failpoint` with the name of each step."""
        self._spool, self._failpoint = spool, failpoint

    def refused(self, client: bytes) -> int:
        """See `ports.Spool`."""
        return self._spool.refused(client)

    def count_refused(self, client: bytes) -> None:
        """See `ports.Spool`."""
        self._failpoint("refused")
        self._spool.count_refused(client)
        self._failpoint("counted")

    def append(self, event: SpooledEvent, counted: bytes | None = None) -> bool:
        """See `ports.Spool`."""
        self._failpoint("decided")
        is_stored = self._spool.append(event, counted)
        self._failpoint("stored")
        return is_stored

    def append_all(self, events: Sequence[SpooledEvent]) -> Sequence[SpooledEvent]:
        """See `ports.Spool`."""
        self._failpoint("decided")
        lost = self._spool.append_all(events)
        self._failpoint("stored")
        return lost
