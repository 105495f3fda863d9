"""Publishes a version with its audit record; one publisher at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from streams.clock import wall_clock_ms
from streams.domain.policy.policy import Policy
from streams.domain.policy.publication import (
    PublicationError,
    conflict,
    require_future,
    shared_moment,
    unknown_line,
)
from streams.domain.tenant.audit import AuditRecord
from streams.domain.tenant.publications import ALL_TENANTS, audit_policy
from streams.policies.reader import catalogue_at, read_published
from streams.policies.topic import PolicyTopic, Published
from streams.wire.policy import content_of, from_millis, policy_key, policy_record, to_millis
from streams.wire.records import to_json_line, to_record

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Publication:
    """A version as it goes to its topic, and what is recorded of it."""

    topic: str
    key: bytes
    value: bytes
    audit: AuditRecord


async def publish_audited(
    topic: PolicyTopic,
    transactional_id: str,
    prepare: Callable[[Published, datetime], Awaitable[tuple[Publication, Result]]],
) -> Result:
    """Publish a version together with its audit record, in one transaction.

    Publishers share a transactional id, so one that overlaps with another fails and changes nothing. What is published
    before is therefore read, and given to `prepare` with the moment of publication, once no other can publish any more.

    Raises:
        PublicationError: `prepare` refuses it.
        KafkaError: another publisher began meanwhile, or the broker refused it.
    """
    producer = topic.cluster.producer(transactional_id=transactional_id, acks="all")
    try:
        await producer.start()
        publication, result = await prepare(await read_published(topic), moment_now())
        audit = await asyncio.to_thread(topic.audit.encode, to_record(publication.audit))  # it may ask a registry
        async with producer.transaction():
            await producer.send(publication.topic, publication.value, key=publication.key, partition=0)
            await producer.send(topic.audit_topic, audit, key=ALL_TENANTS.encode())
    finally:
        await producer.stop()
    return result


async def publish(
    topic: PolicyTopic, app_id: str, policy: Policy, in_force: Sequence[Policy], published_by: str, source: str
) -> Policy:
    """Publish a policy; `in_force` holds the policies that govern without being published.

    Raises:
        PublicationError: it begins in the past, at the moment of another one, its version is not new, or it names a CU
            line that the catalogue in force at its moment does not have.
    """

    async def prepare(known: Published, now: datetime) -> tuple[Publication, Policy]:
        require_future(policy.effective_at, now)
        effective_at = to_millis(policy.effective_at)
        wrong = (
            conflict(policy, [*in_force, *known.policies])
            or shared_moment(policy.effective_at, (), known.catalogues)
            or unknown_line(policy, catalogue_at(topic.catalogue, known.catalogues, effective_at))
        )
        if wrong is not None:
            raise PublicationError(wrong)
        published = replace(policy, published_at=now)
        governing = [item for item in [*in_force, *known.policies] if item.policy_id == policy.policy_id]
        before = _shown(governing[-1]) if governing else None
        audit = audit_policy(published, effective_at, to_millis(now), published_by, before, _shown(published))
        value = await asyncio.to_thread(topic.policies.encode, policy_record(published, published_by, source))
        return Publication(topic.policies_topic, policy_key(policy.policy_id, policy.version), value, audit), published

    return await publish_audited(topic, f"{app_id}-policy-publisher", prepare)


def moment_now() -> datetime:
    """Now, in the milliseconds that records hold."""
    return from_millis(wall_clock_ms())


def _shown(policy: Policy) -> str:
    return to_json_line(content_of(policy) | {"effective_at": to_millis(policy.effective_at)}).decode().strip()
