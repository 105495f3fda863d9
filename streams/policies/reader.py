"""Reads what is published: every worker all of it, one version after the other, and then what is published next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiokafka import TopicPartition

from streams.domain.exchange.catalogue import Catalogue
from streams.domain.exchange.tables import CatalogueError
from streams.domain.policy.content import PolicyError
from streams.domain.policy.policy import Policy
from streams.domain.policy.publication import catalogue_conflict, conflict, same_moment
from streams.domain.policy.rulebook import PublishedCatalogue
from streams.kafka.follower import KafkaLog, TopicFollower
from streams.kafka.unread import UnreadBatch
from streams.log_events import log_event
from streams.policies.topic import PolicyTopic, Published
from streams.wire.catalogue import published_catalogue_of
from streams.wire.codec import MalformedRecordError
from streams.wire.policy import policy_of, to_millis

log = logging.getLogger(__name__)


class PublishedReader:
    """Reads both topics from their beginning; `published` holds the sound versions.

    A policy is checked against the catalogue in force when it begins, so it is looked at again when a catalogue comes:
    which of the two topics is read first makes no difference. A policy that begins at the moment of one in `in_force`
    is as unsound as one that begins with another version.

    Records are decoded in one thread of its own: for an unknown schema the registry is asked, and may take its time.
    """

    def __init__(
        self, topic: PolicyTopic, in_force: Sequence[Policy] = (), *, waits_for_transactions: bool = False
    ) -> None:
        """Read the topics of `topic`; with `waits_for_transactions` also what is being published meanwhile."""
        self.published = Published()
        self._in_force = in_force
        self._topic = topic
        self._of_policies = TopicPartition(topic.policies_topic, 0)
        self._of_catalogues = TopicPartition(topic.catalogues_topic, 0)
        topics = [topic.catalogues_topic, topic.policies_topic]
        self._follower = TopicFollower(
            KafkaLog(topic.cluster, topics, partitions=[0], waits_for_transactions=waits_for_transactions)
        )
        self._policy_records: list[tuple[int, bytes]] = []
        self._refused: set[tuple[TopicPartition, int]] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policies")

    async def start(self) -> None:
        """Read what is published so far.

        Raises:
            TopicError: a topic does not exist.
        """
        await self._follower.start()
        await self.catch_up()

    async def catch_up(self) -> None:
        """Read up to the ends as they are now."""
        async for records in self._follower.read_to_end():
            await self._take(records)

    async def poll(self) -> bool:
        """Read what comes within a moment; True when a version was added."""
        return await self._take(await self._follower.poll())

    async def _take(self, records: Sequence[Any]) -> bool:
        of_catalogues = [record for record in records if record.topic == self._of_catalogues.topic]
        of_policies = [record for record in records if record.topic == self._of_policies.topic]
        if of_policies:
            # One of them may need a catalogue that was published before it.
            async for more in self._follower.read_to_end(self._of_catalogues.topic):
                of_catalogues += more
        if not of_catalogues and not of_policies:
            return False
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.take, of_catalogues, of_policies)

    def take(self, of_catalogues: Iterable[Any], of_policies: Iterable[Any]) -> bool:
        """Take records of both topics; True when a version was added."""
        before = self.published
        catalogues = list(before.catalogues)
        for row in of_catalogues:
            if isinstance(row, UnreadBatch):
                self._refuse(self._of_catalogues, row.offset, row.error)
            elif row.value is not None:
                self._add_catalogue(catalogues, row.offset, row.value)
        for row in of_policies:
            if isinstance(row, UnreadBatch):
                self._refuse(self._of_policies, row.offset, row.error)
            elif row.value is not None:
                self._policy_records.append((row.offset, row.value))
        policies: list[Policy] = []
        for offset, value in self._policy_records:
            self._add_policy(policies, catalogues, offset, value)
        self.published = Published(tuple(policies), tuple(catalogues))
        return self.published != before

    def _add_catalogue(self, known: list[PublishedCatalogue], offset: int, value: bytes) -> None:
        try:
            found = published_catalogue_of(self._topic.catalogues.decode(value))
        except (MalformedRecordError, CatalogueError) as error:
            self._refuse(self._of_catalogues, offset, error)
            return
        if wrong := catalogue_conflict(found, known):
            self._refuse(self._of_catalogues, offset, wrong)
        else:
            known.append(found)

    def _add_policy(
        self, known: list[Policy], catalogues: Sequence[PublishedCatalogue], offset: int, value: bytes
    ) -> None:
        try:
            record = self._topic.policies.decode(value)
            catalogue = catalogue_at(self._topic.catalogue, catalogues, record["effective_at"])
            policy = policy_of(record, catalogue)
        except (MalformedRecordError, PolicyError) as error:
            self._refuse(self._of_policies, offset, error)
            return
        wrong = conflict(policy, known) or same_moment(policy, self._in_force)
        if wrong is not None:
            self._refuse(self._of_policies, offset, wrong)
            return
        known.append(policy)

    def _refuse(self, partition: TopicPartition, offset: int, why: object) -> None:
        """Say so once for each record, however often it is looked at."""
        if (partition, offset) in self._refused:
            return
        self._refused.add((partition, offset))
        if partition == self._of_policies:
            kind, about = "policy", log_event("policy_refused", offset=offset)
        else:
            kind, about = "catalogue", log_event("catalogue_refused", offset=offset)
        log.error("rejected %s at offset %d of %s: %s", kind, offset, partition.topic, why, extra=about)

    async def stop(self) -> None:
        """End the reading; an answer of the registry is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        await self._follower.stop()


def catalogue_at(built_in: Catalogue, published: Iterable[PublishedCatalogue], moment: int) -> Catalogue:
    """The catalogue in force at a moment (UTC milliseconds)."""
    begun = [item for item in published if to_millis(item.effective_at) <= moment]
    return max(begun, key=lambda item: item.effective_at).catalogue if begun else built_in


async def read_published(topic: PolicyTopic) -> Published:
    """Every sound version published so far; one whose publisher has just gone on is among them."""
    reader = PublishedReader(topic, waits_for_transactions=True)
    try:
        await reader.start()
    finally:
        await reader.stop()
    return reader.published


async def follow(reader: PublishedReader, changed: Callable[[Published], None]) -> None:
    """Read for ever, and hand over every new set of policies and catalogues."""
    while True:
        if await reader.poll():
            changed(reader.published)
        await asyncio.sleep(0)
