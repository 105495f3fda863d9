"""Workers' signs of life read back."""

from __future__ import annotations

from typing import Any

from streams.domain.outputs.progress import PartitionProgress
from streams.domain.validation import MalformedError, check_moment


def progress_of(record: dict[str, Any]) -> PartitionProgress:
    """The sign of life that an Avro-shaped record holds.

    Raises:
        MalformedError: names the field that no worker writes so, its value and the rule.
    """
    progress = PartitionProgress(**record)
    if progress.partition < 0:
        raise MalformedError(f"partition: {progress.partition}: must not be negative")
    check_moment("wall_clock", progress.wall_clock, None)
    if progress.stream_time is not None:
        check_moment("stream_time", progress.stream_time, None)
    return progress
