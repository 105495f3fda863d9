"""The status of a worker, as probes and metrics show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What a partition's writer is doing."""

    STARTING = "starting"
    RESTORING = "restoring"
    WORKING = "working"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition of this worker.

    `lags` holds, by input topic, how many records are not committed yet; a topic is left out while nobody can tell.
    `ticked_to` (UTC milliseconds) is the moment up to which its timers fired when nothing was left to read.
    """

    partition: int
    phase: Phase
    rows_restored: int
    rows_to_restore: int
    lags: Mapping[str, int]
    ticked_to: int | None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The whole worker.

    `has_joined` once the group has told it for the first time which partitions are its own, be it none; `is_assigned`
    is False again while the group deals them out anew.
    """

    has_joined: bool
    is_assigned: bool
    is_draining: bool
    failure: str | None
    is_broker_reached: bool
    input_partitions: int | None
    partitions: tuple[PartitionStatus, ...]

    @property
    def not_ready_because(self) -> str | None:
        """Why it does not work; None when it does. A member without partitions is ready: it waits for some."""
        if self.failure is not None:
            return f"failed: {self.failure}"
        if self.is_draining:
            return "draining"
        if not self.has_joined:
            return "has not joined the group"
        if not self.is_assigned:
            return "rebalance in progress"
        waiting = [item for item in self.partitions if item.phase is not Phase.WORKING]
        if not waiting:
            return None
        return ", ".join(f"partition {item.partition} is {item.phase.value}" for item in waiting)


BEFORE_THE_START = WorkerStatus(
    has_joined=False,
    is_assigned=False,
    is_draining=False,
    failure=None,
    is_broker_reached=False,
    input_partitions=None,
    partitions=(),
)
"""While what a worker needs before it joins is still read."""
