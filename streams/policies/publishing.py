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
from streams.kafka.publisher import opened_publisher
from streams.policies.reader import catalogue_at, read_published
from streams.policies.topic import PolicyTopic, Published
from streams.wire.codec import AvroCodec
from streams.wire.policy import content_of, from_millis, policy_key, policy_record, to_millis
from streams.wire.records import to_json_line, to_record

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy that is to be published, and the text that it comes from."""

    policy: Policy
    source: str


@dataclass(frozen=True, slots=True)
class Publication:
    """A version as it goes to its topic, and what is recorded of it."""

    key: bytes
    value: bytes
    audit: AuditRecord


async def publish_audited(
    topic: PolicyTopic,
    versions_topic: str,
    codec: AvroCodec,
    transactional_id: str,
    prepare: Callable[[Published, datetime], Awaitable[tuple[Publication, Result]]],
) -> Result:
    """Publish a version together with its audit record, in one transaction.

    What is published before is read, and given to `prepare` with the moment of publication, once no other publisher can
    publish any more. That moment is taken last: Kafka and a registry may be slow before it, and a version that
    `prepare` lets take effect soon is not late for it.

    Args:
        topic: where policies and catalogues are published.
        versions_topic: the one of these two that the version goes to.
        codec: of the version.
        transactional_id: shared by publishers of such versions.
        prepare: makes the version from what is published and the moment.

    Raises:
        PublicationError: `prepare` refuses it.
        KafkaError: another publisher began meanwhile, or the broker refused it.
    """
    for one in (topic.audit, codec):
        await asyncio.to_thread(one.learn_id)  # it may ask a registry
    async with opened_publisher(topic.cluster, transactional_id, versions_topic, [topic.audit_topic]) as producer:
        publication, result = await prepare(await read_published(topic), moment_now())
        audit = topic.audit.encode(to_record(publication.audit))
        async with producer.transaction():
            await producer.send(versions_topic, publication.value, key=publication.key, partition=0)
            await producer.send(topic.audit_topic, audit, key=ALL_TENANTS.encode())
    return result


async def publish(
    topic: PolicyTopic, app_id: str, policy: Policy, in_force: Sequence[Policy], published_by: str, source: str
) -> Policy:
    """Publish a policy; `in_force` holds the policies that govern without being published.

    Raises:
        PublicationError: it begins in the past, at the moment of another one, its version is not new, or it names a CU
            line that the catalogue in force at its moment does not have.
    """
    published, _ = await publish_draft(topic, app_id, lambda *_: Draft(policy, source), in_force, published_by)
    return published


async def publish_draft(
    topic: PolicyTopic,
    app_id: str,
    draft: Callable[[Published, datetime], Draft],
    in_force: Sequence[Policy],
    published_by: str,
) -> tuple[Policy, Published]:
    """Publish a policy that is made from what is published already, and from the moment of publication.

    Returns:
        The policy as it is published, and what was published before it.

    Raises:
        PublicationError: see `publish`.
    """

    async def prepare(known: Published, now: datetime) -> tuple[Publication, tuple[Policy, Published]]:
        made = draft(known, now)
        policy, effective_at = made.policy, to_millis(made.policy.effective_at)
        require_future(policy.effective_at, now)
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
        value = topic.policies.encode(policy_record(published, published_by, made.source))
        key = policy_key(policy.policy_id, policy.version)
        return Publication(key, value, audit), (published, known)

    return await publish_audited(topic, topic.policies_topic, topic.policies, f"{app_id}-policy-publisher", prepare)


def moment_now() -> datetime:
    """Now, in the milliseconds that records hold."""
    return from_millis(wall_clock_ms())


def _shown(policy: Policy) -> str:
    return to_json_line(content_of(policy) | {"effective_at": to_millis(policy.effective_at)}).decode().strip()
