"""Where reading begins, and what it means when the log no longer fits the state."""

from __future__ import annotations

import logging
from typing import Any

from aiokafka import TopicPartition

from streams.errors import DependencyError
from streams.kafka.cluster import Consumer
from streams.log_events import log_event

log = logging.getLogger(__name__)


class GapError(DependencyError):
    """Records that were never read are gone, or the topic is not the one that the state knows."""


async def check_start(consumer: Consumer, partition: TopicPartition, start: int | None, accepts_gaps: bool) -> int:
    """The offset at which reading begins: `start`, or the beginning where it is None.

    Raises:
        GapError: the log begins after `start`, or ends before it.
    """
    begin = (await consumer.beginning_offsets([partition]))[partition]
    if start is None:
        return int(begin)
    end = (await consumer.end_offsets([partition]))[partition]
    return check_gap(partition, start, begin, end, accepts_gaps)


def check_gap(partition: Any, expected: int, begin: int, end: int, accepts_gaps: bool) -> int:
    """The offset at which reading goes on, where offset `expected` is the next one and the log holds `begin`..`end`.

    Raises:
        GapError: they do not fit, and gaps are not accepted.
    """
    if begin <= expected <= end:
        return expected
    name = f"{partition.topic}-{partition.partition}"
    why = (
        f"{name}: records {expected}..{begin - 1} were deleted (retention?) before they were processed"
        if expected < begin
        else f"{name}: the topic ends at {end}, but the state includes records up to {expected - 1}: a different topic?"
    )
    if not accepts_gaps:
        raise GapError(f"{why}; to continue from {begin} without them, start once with TES_ACCEPT_GAPS=1")
    log.critical(
        "%s; continuing from %d because TES_ACCEPT_GAPS is set",
        *(why, begin),
        extra=log_event("gap_accepted", topic=partition.topic, partition=partition.partition, offset=begin),
    )
    return begin
