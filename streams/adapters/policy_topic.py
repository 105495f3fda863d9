"""The policies topic: published versions, read by every worker and written by one publisher at a time."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from aiokafka import TopicPartition

from streams.adapters.avro_codec import AvroCodec, MalformedRecordError
from streams.adapters.policy_files import PolicyError
from streams.adapters.policy_records import content_of, milliseconds, policy_key, policy_of, policy_record
from streams.adapters.records import to_json_line, to_record
from streams.adapters.topic_reader import partitions_of
from streams.domain.catalogue import Catalogue
from streams.domain.commands import AuditRecord, CommandKind, CommandOutcome
from streams.domain.policy import Policy
from streams.domain.verdict import NAMESPACE
from streams.engine.cluster import Cluster, Consumer
from streams.engine.events import event
from streams.engine.unread import UnreadBatch

log = logging.getLogger(__name__)

ALL_TENANTS = "*"
"""Stands for the tenant in the audit record of a policy."""


class PublicationError(ValueError):
    """A policy that may not be published; the message names the field, the value and the rule."""


@dataclass(frozen=True, slots=True)
class PolicyTopic:
    """Where policies are published, and where that is recorded."""

    cluster: Cluster
    policies_topic: str
    policies: AvroCodec
    audit_topic: str
    audit: AvroCodec
    catalogue: Catalogue


class PolicyReader:
    """Reads the topic from its beginning; `policies` holds the sound versions in the order of publication.

    A version that begins at the moment of one in `in_force` is as unsound as one that begins with another version.
    """

    def __init__(self, topic: PolicyTopic, in_force: Sequence[Policy] = ()) -> None:
        self.policies: list[Policy] = []
        self._in_force = in_force
        self._topic = topic
        self._partition = TopicPartition(topic.policies_topic, 0)
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Read what is published so far.

        Raises:
            TopicError: the topic does not exist.
        """
        self._consumer = consumer = self._topic.cluster.consumer(
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        await partitions_of(self._topic.cluster, self._partition.topic)
        consumer.assign([self._partition])
        await consumer.seek_to_beginning(self._partition)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Read up to the end as it is now."""
        assert self._consumer is not None
        end = (await self._consumer.end_offsets([self._partition]))[self._partition]
        while await self._consumer.position(self._partition) < end:
            await self.poll()

    async def poll(self) -> bool:
        """Read what comes within a moment; True when a version was added."""
        assert self._consumer is not None
        fetched = await self._consumer.getmany(self._partition, timeout_ms=200)
        before = len(self.policies)
        for row in fetched.get(self._partition, ()):
            if isinstance(row, UnreadBatch):
                self._refuse(row.offset, row.error)
            elif row.value is not None:
                self._take(row.offset, row.value)
        return len(self.policies) > before

    def _take(self, offset: int, value: bytes) -> None:
        try:
            policy = policy_of(self._topic.policies.decode(value), self._topic.catalogue)
        except (MalformedRecordError, PolicyError) as error:
            self._refuse(offset, error)
            return
        wrong = conflict(policy, self.policies) or same_moment(policy, self._in_force)
        if wrong is not None:
            self._refuse(offset, wrong)
            return
        self.policies.append(policy)

    def _refuse(self, offset: int, why: object) -> None:
        log.error(
            "policy at offset %d of %s is refused: %s",
            *(offset, self._partition.topic, why),
            extra=event("policy_refused", offset=offset),
        )

    async def stop(self) -> None:
        """End the reading."""
        if self._consumer is not None:
            await self._consumer.stop()


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
            return f"effective_at: {at}: {other.policy_id} version {other.version} begins at this moment already"
    return None


async def read_policies(topic: PolicyTopic) -> list[Policy]:
    """Every sound version published so far."""
    reader = PolicyReader(topic)
    try:
        await reader.start()
    finally:
        await reader.stop()
    return reader.policies


async def follow(reader: PolicyReader, changed: Callable[[list[Policy]], None]) -> None:
    """Read for ever, and hand over every new set of policies."""
    while True:
        if await reader.poll():
            changed(reader.policies)
        await asyncio.sleep(0)


async def publish(
    topic: PolicyTopic, app_id: str, policy: Policy, in_force: Sequence[Policy], published_by: str, source: str
) -> Policy:
    """Publish a version together with its audit record, in one transaction.

    Publishers share a transactional id, so one that overlaps with another fails and changes nothing. `in_force` holds
    the policies that govern without being published.

    Raises:
        PublicationError: it begins in the past, at the moment of another one, or its version is not new.
    """
    producer = topic.cluster.producer(transactional_id=f"{app_id}-policy-publisher", acks="all")
    try:
        await producer.start()
        known = await read_policies(topic)
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        if policy.effective_at <= now:
            raise PublicationError(
                f"effective_at: {policy.effective_at.isoformat()}: is in the past (now {now.isoformat()})"
            )
        wrong = conflict(policy, [*in_force, *known])
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


def _audit(policy: Policy, before: Policy | None, published_by: str) -> AuditRecord:
    assert policy.published_at is not None
    about = f"policy/{policy.policy_id}/{policy.version}/{milliseconds(policy.effective_at)}"
    return AuditRecord(
        audit_id=str(uuid.uuid5(NAMESPACE, f"audit/{about}")),
        command_id=None,
        tenant_id=ALL_TENANTS,
        kind=CommandKind.POLICY_PUBLISHED,
        outcome=CommandOutcome.ACCEPTED,
        reason=f"{policy.policy_id} version {policy.version} governs from {policy.effective_at.isoformat()} on.",
        issued_by=published_by,
        occurred_at=milliseconds(policy.published_at),
        quota_left_days=None,
        before=_shown(before) if before else None,
        after=_shown(policy),
    )


def _shown(policy: Policy) -> str:
    return to_json_line(content_of(policy) | {"effective_at": milliseconds(policy.effective_at)}).decode().strip()
