"""How far the host's clock is proven to be wrong, by moments that a broker's clock tells.

What was written before it is read can only prove that the host is behind. What a broker wrote between a request and its
answer can prove both.
"""

from __future__ import annotations


class ClockSkew:
    """The newest proof; all moments are in UTC milliseconds."""

    def __init__(self) -> None:
        self._behind = self._ahead = 0

    @property
    def milliseconds(self) -> int:
        """How far the host is at least behind or ahead."""
        return max(self._behind, self._ahead)

    def received(self, written_at: int, now: int) -> None:
        """A broker wrote a record at `written_at`, which is read `now`."""
        self._behind = max(0, written_at - now)

    def answered(self, sent_at: int, written_at: int, now: int) -> None:
        """A broker wrote at `written_at` what was sent at `sent_at`, and its answer is here `now`."""
        self._behind = max(0, written_at - now)
        self._ahead = max(0, sent_at - written_at)
