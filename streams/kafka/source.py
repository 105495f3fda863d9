"""Some topics as one source of records, with a deadline for whatever the client does."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from streams.clock import wall_clock_ms
from streams.kafka.cluster import Cluster
from streams.kafka.deadlines import NoAnswerError, within
from streams.kafka.follower import KafkaLog, TopicFollower
from streams.kafka.places import Place
from streams.kafka.timing import Timing
from streams.kafka.topic_ids import TopicIdentity, identities_of
from streams.kafka.topics import TopicError

_FETCH_WAIT_MS: Final = 100

Positions = Callable[[Mapping[str, str]], Awaitable[Mapping[Place, int]]]
"""Tells how far each partition was read, by which topic has each name; one that is left out was not read yet."""


class Source:
    """Reads topics on and on, until anything is wrong with them."""

    def __init__(self, cluster: Cluster, topics: Sequence[str], timing: Timing) -> None:
        """Read some topics of a cluster."""
        self._cluster, self._topics, self._timing = cluster, topics, timing
        self._log = KafkaLog(cluster, topics, starts=self._starts, fetch_wait_ms=_FETCH_WAIT_MS)
        self._follower = TopicFollower(self._log, time.time)
        self._starting_at: Mapping[Place, int] = {}
        self._moved_at = time.monotonic()
        self.sources: dict[str, str] = {}
        """The topic behind each name."""
        self.positions: dict[Place, int] = {}
        """Behind what was handed on of each partition."""
        self.asked_at = 0
        """See `whole`; UTC milliseconds."""

    async def start(self, positions: Positions) -> None:
        """Connect, and go to where reading goes on.

        Raises:
            TopicError: a topic does not exist, or does not hold what should be read.
            KafkaError: no broker lets it in.
            NoAnswerError: no broker answers.
            Exception: what `positions` raises.
        """
        self.sources = await within(self._timing.answer, self._identify(), "looking for the topics")
        self._starting_at = await positions(self.sources)
        await within(self._timing.answer, self._follower.start(), "opening the topics")
        for partition in await within(self._timing.answer, self._log.ends(), "asking for the ends of the topics"):
            self.positions[Place(*partition)] = await self._log.position(partition)
        self._moved_at = time.monotonic()

    async def poll(self) -> Sequence[Any]:
        """What comes within a moment.

        Raises:
            NoAnswerError: the brokers say nothing.
            KafkaError: the client failed.
        """
        before = self._follower.complete_at
        records = await within(self._timing.answer, self._follower.poll(), "reading the topics")
        now = time.monotonic()
        if records or self._follower.complete_at != before:
            self._moved_at = now
        elif now - self._moved_at > self._timing.stall:
            raise NoAnswerError(f"reading the topics: no word of the brokers within {self._timing.stall:g} s")
        return records

    async def advance(self, places: Sequence[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
        """Where partitions were, and where they are behind what was read last; from now on they are there."""
        begins = {place: self.positions[place] for place in places}
        for place in places:
            self.positions[place] = await self._log.position(TopicPartition(*place))
        return begins, {place: self.positions[place] for place in places}

    async def ends(self) -> dict[Place, int]:
        """Behind what each partition holds now.

        Raises:
            NoAnswerError: no broker answers.
        """
        ends = await within(self._timing.answer, self._log.ends(), "asking for the ends of the topics")
        return {Place(*partition): end for partition, end in ends.items()}

    async def whole(self) -> AsyncIterator[Sequence[Any]]:
        """What the topics hold up to their ends, piece by piece; some pieces are empty.

        The ends are asked for twice, the second time at `asked_at`: a record that compaction deleted in front of the
        reading in the meantime has a later one of its key, and that was written before the second time. So whatever is
        there is seen, however much is written.

        Raises:
            NoAnswerError: the brokers say nothing.
            KafkaError: the client failed.
        """
        for _ in range(2):
            self.asked_at, ends = wall_clock_ms(), await self.ends()
            while not await self.has_read(ends):
                yield await self.poll()

    async def has_read(self, ends: Mapping[Place, int]) -> bool:
        """Whether everything in front of some ends was handed on."""
        for place, end in ends.items():
            if await self._log.position(TopicPartition(*place)) < end:
                return False
        return True

    async def look(self) -> None:
        """Look whether the topics are still those that are read.

        Raises:
            TopicError: one is another topic, or has more partitions.
            NoAnswerError: no broker answers.
        """
        for topic in self._topics:
            found = await within(self._timing.answer, self._log.identity(topic), f"looking for {topic}")
            partitions = sum(place.topic == topic for place in self.positions)
            if found.source != self.sources[topic] or found.partitions != partitions:
                raise TopicError(f"{topic}: is another topic, or has more partitions")

    @property
    def complete_at(self) -> int | None:
        """When the topics were last known to be read to their ends (UTC milliseconds); None before."""
        read_at = self._follower.complete_at
        return None if read_at is None else int(read_at * 1000)

    def lag(self) -> dict[str, int]:
        """How many offsets of each topic are not handed on yet, as far as the brokers told."""
        lag = dict.fromkeys(self._topics, 0)
        for place, position in self.positions.items():
            known = self._log.known_end(TopicPartition(*place))
            if known is not None:
                lag[place.topic] += max(0, known.offset - position)
        return lag

    async def throw_away(self) -> None:
        """Disconnect, whatever the brokers do."""
        await self._log.throw_away()

    async def _identify(self) -> dict[str, str]:
        identities = await identities_of(self._cluster, self._topics)
        return {topic: identity.source for topic, identity in identities.items()}

    def _starts(self, identities: Mapping[str, TopicIdentity]) -> Mapping[TopicPartition, int]:
        for topic, identity in identities.items():
            if identity.source != self.sources[topic]:
                raise TopicError(f"{topic}: is another topic than a moment ago")
        return {TopicPartition(*place): offset for place, offset in self._starting_at.items()}
