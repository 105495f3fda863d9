"""How often an address fails to say who it is: what is told and logged of it is bounded, and so is what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

WINDOW_SECONDS: Final = 60.0
MOST_FAILURES: Final = 60
"""Of an address in a window. A good token is always accepted: behind a proxy all callers have one address."""
MOST_ADDRESSES: Final = 10_000


class FailureLimit:
    """Counts failures by address."""

    def __init__(self, clock: Callable[[], float], most_addresses: int = MOST_ADDRESSES) -> None:
        """Nothing has failed yet; `clock` gives seconds that never go back."""
        self._clock, self._most_addresses = clock, most_addresses
        self._counts: dict[str, tuple[float, int]] = {}

    def count(self, address: str) -> int:
        """Count a failure of an address; returns how many there were in this window."""
        now = self._clock()
        began_at, failures = self._counts.pop(address, (now, 0))
        if now - began_at >= WINDOW_SECONDS:
            began_at, failures = now, 0
        if len(self._counts) >= self._most_addresses:
            del self._counts[next(iter(self._counts))]
        self._counts[address] = (began_at, failures + 1)
        return failures + 1
