"""What the consumer needs from whoever has the partitions; it knows neither Faust's app nor the partitions' tasks."""

from __future__ import annotations

from typing import Protocol


class PartitionOwner(Protocol):
    """Has the worker's partitions of the source, from one rebalance to the next; `BatchApp` implements it.

    `generation` counts the assignments: what was fetched in an earlier one is dropped. `accepts_gaps` says whether
    records that were never read may be skipped.
    """

    source: str
    generation: int

    @property
    def accepts_gaps(self) -> bool:
        """Whether records that are gone before they were read are passed over."""

    def has_capacity(self, partition: int) -> bool:
        """Whether the partition may be fetched; False for one that is not owned or not restored yet."""

    def next_offset(self, partition: int) -> int | None:
        """The offset that the partition needs next; None while it is not known, or the partition is not owned."""

    def notify(self, partition: int) -> None:
        """Let the partition look again whether there is something to do."""

    async def acquire(self, partitions: set[int]) -> None:
        """Own exactly these partitions."""

    async def release(self) -> None:
        """Own no partition any more; what is not committed is left to the next owner."""

    def fail(self, error: BaseException) -> None:
        """Stop the worker because of an error."""
