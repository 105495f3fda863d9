"""Keeps when the worker of each input partition last gave a sign of life."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streams.domain.outputs.progress import PartitionProgress
from streams.edge.sync.following import Follower, Following
from streams.edge.sync.skew import ClockSkew
from streams.edge.sync.timing import Timing
from streams.kafka.cluster import Cluster
from streams.kafka.reader import report_unread
from streams.kafka.unread import UnreadBatch
from streams.wire.codec import AvroCodec
from streams.wire.progress import progress_of

log = logging.getLogger(__name__)


class SignsFollower(Follower):
    """Reads the topic of signs of life; `newest` has the last one by input partition."""

    def __init__(
        self,
        cluster: Cluster,
        topics: tuple[str, str],
        codec: AvroCodec,
        skew: ClockSkew,
        timing: Timing,
        clock: Callable[[], int],
    ) -> None:
        """Follow the first of the topics, for the partitions of the second; `clock` returns UTC milliseconds."""
        topic, self._inputs_topic = topics
        super().__init__(cluster, topic, timing)
        self._codec, self._skew, self._clock = codec, skew, clock
        self._found: dict[int, PartitionProgress] = {}
        self.newest: Mapping[int, PartitionProgress] = {}
        self.inputs: int | None = None
        """How many input partitions there are; None before that is known."""
        self.unreadable = 0

    @property
    def alive_at(self) -> int | None:
        """Up to when the workers of all input partitions have spoken (UTC milliseconds); None if one never did."""
        if not self.inputs or any(number not in self.newest for number in range(self.inputs)):
            return None
        return min(self.newest[number].wall_clock for number in range(self.inputs))

    async def _begin(self, following: Following) -> None:
        await super()._begin(following)
        await self._count_inputs(following)
        self._found = {}

    async def _take(self, records: Sequence[Any], complete_at: int | None) -> None:
        # A registry may be asked, and the events go on meanwhile.
        await asyncio.to_thread(self._read, records)
        if complete_at is not None:
            self.newest = self._found

    async def _look(self, following: Following) -> None:
        await super()._look(following)
        await self._count_inputs(following)

    async def _count_inputs(self, following: Following) -> None:
        self.inputs = (await following.identity_of(self._inputs_topic)).partitions

    def _read(self, records: Sequence[Any]) -> None:
        for record in records:
            if isinstance(record, UnreadBatch):
                self.unreadable += 1
                report_unread(record)
                continue
            try:
                progress = None if record.value is None else progress_of(self._codec.decode(record.value))
            except ValueError as error:
                self.unreadable += 1
                log.warning("a sign of life cannot be read: %s@%d: %.300s", record.topic, record.offset, error)
                continue
            if progress is not None and progress.partition < (self.inputs or 0):
                # A worker whose clock is ahead would seem to be alive long after its end.
                moment = progress.wall_clock
                if record.timestamp_type == 1:
                    moment = min(moment, record.timestamp)
                self._found[progress.partition] = progress._replace(wall_clock=moment)
        if records and records[-1].timestamp_type == 1:
            self._skew.received(records[-1].timestamp, self._clock())
