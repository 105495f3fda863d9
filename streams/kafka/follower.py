"""Follows topics: reads them to their end, then what comes, and knows how long ago it was last at the end.

A `Log` is what is followed: `KafkaLog` is the one of a cluster, and a test may have its own.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from aiokafka import TopicPartition

from streams.kafka.cluster import Cluster, Consumer
from streams.kafka.reader import (
    EMPTY_FETCHES,
    FETCH_WAIT_MS,
    extents_of,
    open_consumer,
    partitions_of,
    refuse_less,
)
from streams.kafka.topic_ids import TopicIdentity, identify
from streams.kafka.topics import TopicError

FETCH_SECONDS: Final = 0.2
"""How long a fetch waits for records."""
FETCH_RECORDS: Final = 10_000
"""How many records a fetch hands on at most; `unread.LIST_BYTES` bounds them in bytes."""


Starts = Callable[[Mapping[str, TopicIdentity]], Mapping[TopicPartition, int]]
"""Where to begin in topics of these identities; a partition that is left out is read from its beginning."""


class LostPositionError(TopicError):
    """A partition does not hold the offset from which it should be read."""


class KnownEnd(NamedTuple):
    """The end of a partition as the broker last told it, and how long ago that was (seconds)."""

    offset: int
    age: float


class Log(Protocol):
    """Partitions that are read in order; a position passes gaps of compaction and marks of transactions."""

    async def open(self) -> None:
        """Connect, and go to where reading begins.

        Raises:
            TopicError: a topic does not exist.
        """

    async def close(self) -> None:
        """Disconnect; also where it was never opened."""

    async def ends(self) -> Mapping[TopicPartition, int]:
        """The end of every partition as it is now: asks the brokers."""

    async def position(self, partition: TopicPartition) -> int:
        """The offset behind what was fetched."""

    async def fetch(self, partitions: Collection[TopicPartition]) -> Sequence[Any]:
        """What is next in some partitions, records and unread batches; nothing where nothing comes in time."""

    def known_end(self, partition: TopicPartition) -> KnownEnd | None:
        """What the broker told of a partition's end with what it sent last, None where it sent nothing yet."""


class KafkaLog:
    """The committed records of some topics of a cluster."""

    def __init__(
        self,
        cluster: Cluster,
        topics: Sequence[str],
        *,
        partitions: Collection[int] | None = None,
        from_end: bool = False,
        waits_for_transactions: bool = False,
        starts: Starts | None = None,
        fetch_wait_ms: int = FETCH_WAIT_MS,
    ) -> None:
        """Read topics of a cluster.

        Args:
            cluster: where they are.
            topics: their names.
            partitions: only these of each topic; None for all.
            from_end: begin behind what is there, not at the beginning.
            waits_for_transactions: count what is in open transactions as in front of the end. A producer that has
                committed goes on before the broker has marked all partitions; until then none of them shows it.
            starts: tells where to begin otherwise; asked each time that the log is opened.
            fetch_wait_ms: how long a broker holds back an answer without records.
        """
        self._cluster, self._topics, self._only = cluster, topics, partitions
        self._from_end, self._waits_for_transactions = from_end, waits_for_transactions
        self._starts, self._fetch_wait_ms = starts, fetch_wait_ms
        self._partitions: list[TopicPartition] = []
        self._consumer: Consumer | None = None

    async def open(self) -> None:
        """See `Log`."""
        found = await partitions_of(self._cluster, *self._topics)
        self._partitions = [
            one for topic in self._topics for one in found[topic] if self._only is None or one.partition in self._only
        ]
        self._consumer = consumer = open_consumer(self._cluster, fetch_wait_ms=self._fetch_wait_ms)
        await consumer.start()
        consumer.assign(self._partitions)
        begins = await consumer.beginning_offsets(self._partitions)
        ends = await consumer.end_offsets(self._partitions)
        known = {} if self._starts is None else self._starts({one: await self.identity(one) for one in self._topics})
        for one in self._partitions:
            offset = ends[one] if self._from_end else known.get(one, begins[one])
            if not begins[one] <= offset <= ends[one]:
                held = f"holds {begins[one]} to {ends[one]}"
                raise LostPositionError(f"{one.topic}-{one.partition}: offset {offset} is gone: {held}")
            consumer.seek(one, offset)

    async def identity(self, topic: str) -> TopicIdentity:
        """Which topic has this name now.

        Raises:
            TopicError: none.
        """
        return await identify(self._opened._client, topic)

    async def close(self) -> None:
        """See `Log`."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def throw_away(self) -> None:
        """Disconnect from brokers that may not answer any more."""
        if self._consumer is not None:
            await self._consumer.throw_away()

    async def ends(self) -> Mapping[TopicPartition, int]:
        """See `Log`."""
        if self._waits_for_transactions:
            extents = await extents_of(self._cluster, self._partitions, "read_uncommitted")
            return {partition: end for partition, (_, end) in extents.items()}
        ends: Mapping[TopicPartition, int] = await self._opened.end_offsets(self._partitions)
        return ends

    async def position(self, partition: TopicPartition) -> int:
        """See `Log`."""
        return int(await self._opened.position(partition))

    async def fetch(self, partitions: Collection[TopicPartition]) -> Sequence[Any]:
        """See `Log`."""
        milliseconds = round(FETCH_SECONDS * 1000)
        fetched = await self._opened.getmany(*partitions, timeout_ms=milliseconds, max_records=FETCH_RECORDS)
        return [record for records in fetched.values() for record in records]

    def known_end(self, partition: TopicPartition) -> KnownEnd | None:
        """See `Log`."""
        end, told_at = self._opened.last_stable_offset(partition), self._opened.last_poll_timestamp(partition)
        if end is None or told_at is None:
            return None
        return KnownEnd(end, max(0.0, time.time() - told_at / 1000))

    @property
    def _opened(self) -> Consumer:
        if self._consumer is None:
            raise RuntimeError(f"{', '.join(self._topics)}: not opened")
        return self._consumer


class TopicFollower:
    """Reads a log once to its end, then on and on."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        """Follow `log`; `clock` returns seconds."""
        self._log, self._clock = log, clock
        self._partitions: list[TopicPartition] = []
        self._at_end: dict[TopicPartition, float] = {}

    async def start(self) -> None:
        """Open the log.

        Raises:
            TopicError: a topic does not exist.
        """
        try:
            await self._log.open()
            self._partitions = list(await self._ends())
        except BaseException:
            await self._log.close()
            raise

    async def stop(self) -> None:
        """Close the log."""
        await self._log.close()

    async def read_to_end(self, *topics: str) -> AsyncIterator[Sequence[Any]]:
        """What comes up to the end as it is now, of some topics or of all, batch by batch.

        Raises:
            TopicError: a partition was made again with less, so that nothing may ever come up to its end.
        """
        ends = {one: end for one, end in (await self._ends()).items() if not topics or one.topic in topics}
        empty = 0
        while left := [one for one, end in ends.items() if await self._log.position(one) < end]:
            records = await self._fetch(left)
            empty = 0 if records else empty + 1
            if empty == EMPTY_FETCHES:
                empty, now = 0, await self._ends()
                refuse_less(ends, {one: now[one] for one in left})
            yield records

    async def poll(self) -> Sequence[Any]:
        """What comes within a moment."""
        return await self._fetch(self._partitions)

    @property
    def staleness_seconds(self) -> float:
        """How long ago every partition was last known to be read to its end; infinite before.

        It grows while records wait to be read, and while the brokers do not answer.
        """
        read_at = self.complete_at
        return float("inf") if read_at is None else max(0.0, self._clock() - read_at)

    @property
    def complete_at(self) -> float | None:
        """When every partition was last known to be read to its end, by the clock; None before."""
        if not self._partitions or len(self._at_end) < len(self._partitions):
            return None
        return min(self._at_end.values())

    async def _ends(self) -> Mapping[TopicPartition, int]:
        asked_at = self._clock()
        ends = await self._log.ends()
        for partition, end in ends.items():
            await self._note(partition, end, asked_at)
        return ends

    async def _fetch(self, partitions: Collection[TopicPartition]) -> Sequence[Any]:
        records = await self._log.fetch(partitions)
        now = self._clock()
        for partition in self._partitions:
            if (known := self._log.known_end(partition)) is not None:
                await self._note(partition, known.offset, now - known.age)
        return records

    async def _note(self, partition: TopicPartition, end: int, at: float) -> None:
        if await self._log.position(partition) >= end:
            self._at_end[partition] = max(at, self._at_end.get(partition, at))
