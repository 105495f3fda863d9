"""Where a partition's records come from and go to, and how much of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streams.engine.ports import StateStore
from streams.kafka.cluster import Cluster


@dataclass(frozen=True, slots=True)
class PartitionConfig:
    """Cluster, topics, group and times (seconds) of a partition's writer.

    `outputs` are the topics that it writes to, beside the changelog. `unit_records` and `unit_seconds` (of
    deciding) bound a unit of work. While the source has more it gathers from its first pause on, since bigger units
    write a changed key less often: for `gather_seconds`, and no longer than its first record was old when it was
    taken, so that only what is late already becomes later. `queue_records` and `queue_bytes` bound what waits
    before it. `state_format` is the format of the state's rows; `format_of` tells that of a state without a row for
    it.
    """

    cluster: Cluster
    app_id: str
    group: str
    source: str
    merged: str
    changelog: str
    outputs: tuple[str, ...] = ()
    tick_seconds: float = 1.0
    transaction_timeout_seconds: float = 60.0
    drain_seconds: float = 5.0
    unit_records: int = 30_000
    unit_seconds: float = 1.0
    gather_seconds: float = 1.0
    queue_records: int = 10_000
    queue_bytes: int = 8 << 20
    accepts_gaps: bool = False
    state_format: int = 0
    format_of: Callable[[StateStore], int | None] = lambda _: None
