"""Follows one topic, with a deadline for each call of the client; and the loop of every part that follows one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from streams.edge.sync.timing import Timing
from streams.kafka.cluster import Cluster
from streams.kafka.deadlines import NoAnswerError, within
from streams.kafka.follower import KafkaLog, Starts, TopicFollower
from streams.kafka.topic_ids import TopicIdentity
from streams.kafka.topics import TopicError

_FETCH_WAIT_MS: Final = 500
"""Hosts are many, and each asks the brokers so often while nothing comes."""


class Following:
    """Reads a topic on and on, until anything is wrong with it."""

    def __init__(self, cluster: Cluster, topic: str, timing: Timing, starts: Starts | None = None) -> None:
        """Follow a topic; `starts` tells where to begin, else at its beginning."""
        self._topic, self._timing = topic, timing
        self._log = KafkaLog(cluster, [topic], starts=starts, fetch_wait_ms=_FETCH_WAIT_MS)
        self._follower = TopicFollower(self._log, time.time)
        self._moved_at = time.monotonic()
        self.answers = 0
        """How often the brokers were heard of."""

    async def start(self) -> None:
        """Connect.

        Raises:
            TopicError: the topic does not exist, or does not hold what should be read.
            KafkaError: no broker lets it in.
            NoAnswerError: no broker answers.
        """
        await within(self._timing.answer, self._follower.start(), f"opening {self._topic}")
        self._moved_at = time.monotonic()

    async def poll(self) -> Sequence[Any]:
        """What comes within a moment.

        Raises:
            NoAnswerError: the brokers say nothing.
            KafkaError: the client failed.
        """
        before = self._follower.complete_at
        records = await within(self._timing.answer, self._follower.poll(), f"reading {self._topic}")
        now = time.monotonic()
        if records or self._follower.complete_at != before:
            self._moved_at = now
            self.answers += 1
        elif now - self._moved_at > self._timing.stall:
            raise NoAnswerError(f"reading {self._topic}: no word of the brokers within {self._timing.stall:g} s")
        return records

    @property
    def complete_at(self) -> int | None:
        """When the topic was last known to be read to its end (UTC milliseconds); None before."""
        read_at = self._follower.complete_at
        return None if read_at is None else int(read_at * 1000)

    async def identity_of(self, topic: str) -> TopicIdentity:
        """Which topic has a name now.

        Raises:
            TopicError: none.
            NoAnswerError: no broker answers.
        """
        return await within(self._timing.answer, self._log.identity(topic), f"looking for {topic}")

    async def throw_away(self) -> None:
        """Disconnect, whatever the brokers do."""
        await self._log.throw_away()


class Follower(ABC):
    """A part of sync that follows a topic. Each run has a client of its own; see `app.Part`."""

    def __init__(self, cluster: Cluster, topic: str, timing: Timing) -> None:
        """Follow a topic."""
        self._cluster, self._topic, self._timing = cluster, topic, timing
        self._identity: TopicIdentity | None = None
        self.answers = 0
        """How often the brokers were heard of, and what they said was taken."""

    async def run(self) -> None:
        """Follow the topic until something fails, which is raised."""
        following = Following(self._cluster, self._topic, self._timing, self._starts)
        try:
            await self._begin(following)
            look_at = time.monotonic() + self._timing.look
            answers = 0
            while True:
                await self._take(await following.poll(), following.complete_at)
                self.answers += following.answers > answers
                answers = following.answers
                if time.monotonic() > look_at:
                    await self._look(following)
                    look_at = time.monotonic() + self._timing.look
        finally:
            await following.throw_away()

    def _starts(self, identities: Mapping[str, TopicIdentity]) -> Mapping[TopicPartition, int]:
        """Where to begin in the topic; a partition that is left out is read from its beginning."""
        self._identity = identities[self._topic]
        return {}

    async def _begin(self, following: Following) -> None:
        """Connect, and get ready for what comes."""
        await following.start()

    @abstractmethod
    async def _take(self, records: Sequence[Any], complete_at: int | None) -> None:
        """Take what came; `complete_at` is when all of the topic was last read (UTC milliseconds), None before."""

    async def _look(self, following: Following) -> None:
        """Look whether the topic is still the same; called once in a while."""
        if await following.identity_of(self._topic) != self._identity:
            raise TopicError(f"{self._topic}: is another topic, or has more partitions")
