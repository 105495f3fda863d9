"""The topics of policies and catalogues: published versions, read by every worker, one publisher at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from aiokafka import TopicPartition

from streams.domain.exchange.catalogue import Catalogue
from streams.domain.exchange.tables import CatalogueError
from streams.domain.ids import stable_id
from streams.domain.policy.content import PolicyError
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import PublishedCatalogue
from streams.domain.tenant.audit import AuditRecord, CommandOutcome
from streams.domain.tenant.commands import CommandKind
from streams.kafka.cluster import Cluster, Consumer
from streams.kafka.reader import partitions_of
from streams.kafka.unread import UnreadBatch
from streams.log_events import log_event
from streams.wire.catalogue import published_catalogue_of
from streams.wire.codec import AvroCodec, MalformedRecordError
from streams.wire.policy import content_of, policy_key, policy_of, policy_record, to_millis
from streams.wire.records import to_json_line, to_record

log = logging.getLogger(__name__)

ALL_TENANTS = "*"
"""Stands for the tenant in the audit record of a policy."""


class PublicationError(ValueError):
    """A policy that may not be published; the message names the field, the value and the rule."""


@dataclass(frozen=True, slots=True)
class PolicyTopic:
    """Where policies and catalogues are published, and where that is recorded.

    `catalogue` is the built-in one, which is in force until the first published one begins.
    """

    cluster: Cluster
    policies_topic: str
    policies: AvroCodec
    catalogues_topic: str
    catalogues: AvroCodec
    audit_topic: str
    audit: AvroCodec
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class Published:
    """The sound versions of policies and catalogues, each in the order of publication."""

    policies: tuple[Policy, ...] = ()
    catalogues: tuple[PublishedCatalogue, ...] = ()


class PublishedReader:
    """Reads both topics from their beginning; `published` holds the sound versions.

    A policy is checked against the catalogue in force when it begins, so it is looked at again when a catalogue comes:
    which of the two topics is read first makes no difference. A policy that begins at the moment of one in `in_force`
    is as unsound as one that begins with another version.
    """

    def __init__(self, topic: PolicyTopic, in_force: Sequence[Policy] = ()) -> None:
        self.published = Published()
        self._in_force = in_force
        self._topic = topic
        self._of_policies = TopicPartition(topic.policies_topic, 0)
        self._of_catalogues = TopicPartition(topic.catalogues_topic, 0)
        self._consumer: Consumer | None = None
        self._policy_records: list[tuple[int, bytes]] = []
        self._refused: set[tuple[TopicPartition, int]] = set()

    async def start(self) -> None:
        """Read what is published so far.

        Raises:
            TopicError: a topic does not exist.
        """
        self._consumer = consumer = self._topic.cluster.consumer(
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
        )
        partitions = [self._of_catalogues, self._of_policies]
        await consumer.start()
        await partitions_of(self._topic.cluster, *(partition.topic for partition in partitions))
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Read up to the ends as they are now."""
        assert self._consumer is not None
        for partition, end in (await self._consumer.end_offsets([self._of_catalogues, self._of_policies])).items():
            while await self._consumer.position(partition) < end:
                await self.poll()

    async def poll(self) -> bool:
        """Read what comes within a moment; True when a version was added."""
        assert self._consumer is not None
        fetched = await self._consumer.getmany(timeout_ms=200)
        of_catalogues = list(fetched.get(self._of_catalogues, ()))
        of_policies = fetched.get(self._of_policies, ())
        if of_policies:
            # One of them may need a catalogue that was published before it.
            ends = await self._consumer.end_offsets([self._of_catalogues])
            while await self._consumer.position(self._of_catalogues) < ends[self._of_catalogues]:
                more = await self._consumer.getmany(self._of_catalogues, timeout_ms=200)
                of_catalogues += more.get(self._of_catalogues, ())
        return bool(of_catalogues or of_policies) and self.take(of_catalogues, of_policies)

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
        """End the reading."""
        if self._consumer is not None:
            await self._consumer.stop()


def catalogue_at(built_in: Catalogue, published: Iterable[PublishedCatalogue], moment: int) -> Catalogue:
    """The catalogue in force at a moment (UTC milliseconds)."""
    begun = [item for item in published if to_millis(item.effective_at) <= moment]
    return max(begun, key=lambda item: item.effective_at).catalogue if begun else built_in


def catalogue_conflict(found: PublishedCatalogue, known: Sequence[PublishedCatalogue]) -> str | None:
    """Why a catalogue cannot stand beside those known, None when it can."""
    for other in known:
        if other.version >= found.version:
            return f"version: {found.version}: must be above {other.version}, the published version"
        if other.effective_at == found.effective_at:
            return f"effective_at: {found.effective_at.isoformat()}: version {other.version} takes effect at this time"
    return None


def conflict(policy: Policy, known: Sequence[Policy]) -> str | None:
    """Why a policy cannot stand beside those known, None when it can."""
    for other in known:
        if other.policy_id == policy.policy_id and other.version >= policy.version:
            return (
                f"version: {policy.version}: must be above {other.version}, the published version of {policy.policy_id}"
            )
    return same_moment(policy, known)


def same_moment(policy: Policy, known: Sequence[Policy]) -> str | None:
    """Why a policy cannot stand beside those known, as far as its moment goes."""
    for other in known:
        if other.effective_at == policy.effective_at:
            at = policy.effective_at.isoformat()
            return f"effective_at: {at}: {other.policy_id} version {other.version} already takes effect at this time"
    return None


async def read_published(topic: PolicyTopic) -> Published:
    """Every sound version published so far."""
    reader = PublishedReader(topic)
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


async def publish(
    topic: PolicyTopic, app_id: str, policy: Policy, in_force: Sequence[Policy], published_by: str, source: str
) -> Policy:
    """Publish a version together with its audit record, in one transaction.

    Publishers share a transactional id, so one that overlaps with another fails and changes nothing. `in_force` holds
    the policies that govern without being published.

    Raises:
        PublicationError: it begins in the past, at the moment of another one, its version is not new, or it names a CU
            line that the catalogue in force at its moment does not have.
    """
    producer = topic.cluster.producer(transactional_id=f"{app_id}-policy-publisher", acks="all")
    try:
        await producer.start()
        found = await read_published(topic)
        known = found.policies
        now = moment_now()
        require_future(policy.effective_at, now)
        catalogue = catalogue_at(topic.catalogue, found.catalogues, to_millis(policy.effective_at))
        wrong = (
            conflict(policy, [*in_force, *known])
            or shared_moment(policy.effective_at, (), found.catalogues)
            or _unknown_line(policy, catalogue)
        )
        if wrong is not None:
            raise PublicationError(wrong)
        published = replace(policy, published_at=now)
        governing = [item for item in [*in_force, *known] if item.policy_id == policy.policy_id]
        record = policy_record(published, published_by, source)
        audit = _audit(published, governing[-1] if governing else None, published_by)
        async with producer.transaction():
            key = policy_key(policy.policy_id, policy.version)
            await producer.send(topic.policies_topic, topic.policies.encode(record), key=key, partition=0)
            value = topic.audit.encode(to_record(audit))
            await producer.send(topic.audit_topic, value, key=ALL_TENANTS.encode())
    finally:
        await producer.stop()
    return published


def moment_now() -> datetime:
    """Now, in the milliseconds that records hold."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def require_future(effective_at: datetime, now: datetime) -> None:
    """Refuse a moment of which events may have been judged already.

    Raises:
        PublicationError: it is not after `now`.
    """
    if effective_at <= now:
        raise PublicationError(f"effective_at: {effective_at.isoformat()}: is in the past (now {now.isoformat()})")


def shared_moment(
    effective_at: datetime, policies: Iterable[Policy], catalogues: Iterable[PublishedCatalogue]
) -> str | None:
    """Why a policy and a catalogue must not begin at one moment: who falls by the second would not be told before."""
    taken = [
        f"{policy.policy_id} version {policy.version}" for policy in policies if policy.effective_at == effective_at
    ]
    taken += [f"catalogue {item.version}" for item in catalogues if item.effective_at == effective_at]
    return f"effective_at: {effective_at.isoformat()}: {taken[0]} already takes effect at this time" if taken else None


def _unknown_line(policy: Policy, catalogue: Catalogue) -> str | None:
    for product, rule in policy.products.items():
        for floor in rule.floors:
            if not catalogue.knows_line(floor):
                return (
                    f"products.{product.value}.floors: {floor}: is of a CU line that is not in the catalogue "
                    f"in force at {policy.effective_at.isoformat()}"
                )
    return None


def _audit(policy: Policy, before: Policy | None, published_by: str) -> AuditRecord:
    assert policy.published_at is not None
    about = f"policy/{policy.policy_id}/{policy.version}/{to_millis(policy.effective_at)}"
    return AuditRecord(
        audit_id=stable_id(f"audit/{about}"),
        command_id=None,
        tenant_id=ALL_TENANTS,
        kind=CommandKind.POLICY_PUBLISHED,
        outcome=CommandOutcome.ACCEPTED,
        reason=f"{policy.policy_id} version {policy.version} takes effect at {policy.effective_at.isoformat()}.",
        issued_by=published_by,
        occurred_at=to_millis(policy.published_at),
        quota_left_days=None,
        before=_shown(before) if before else None,
        after=_shown(policy),
    )


def _shown(policy: Policy) -> str:
    return to_json_line(content_of(policy) | {"effective_at": to_millis(policy.effective_at)}).decode().strip()
