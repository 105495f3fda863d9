"""The sign of life that a worker gives for each of its partitions."""

from __future__ import annotations

from typing import NamedTuple


class PartitionProgress(NamedTuple):
    """How far the worker of an input partition is; moments in UTC milliseconds.

    `stream_time` is the latest moment of a record that it processed since it took the partition, None where there was
    none. `wall_clock` is its clock when it wrote this.
    """

    partition: int
    stream_time: int | None
    wall_clock: int
    policy_id: str
    policy_version: int
    worker_version: str
    app_id: str = ""
