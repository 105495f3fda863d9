"""Looks at everything on the cluster, one check after the other; what fails in one does not keep the others back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.domain.outputs.progress import PartitionProgress
from streams.domain.policy.rulebook import Rulebook
from streams.domain.time import DAY_MS, iso
from streams.domain.validation import MalformedError
from streams.errors import DependencyError
from streams.kafka.cluster import Cluster
from streams.kafka.preflight import check_access
from streams.kafka.provisioning import compare_topics
from streams.kafka.reader import extents_of, partitions_of, read_partitions, read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import DEAD_LETTER_SUFFIX, TOPICS, TopicError
from streams.operations.doctor.findings import Finding, ok, problem, skipped, warning
from streams.operations.doctor.inputs import (
    TOPICS_PAGE,
    examine_connections,
    latest_records,
    look_at_connections,
)
from streams.operations.doctor.workers import examine_lag, examine_signs
from streams.operations.group import INPUTS, committed_offsets, members_of
from streams.policies.catalogue.topic import tables_in_force
from streams.policies.configured import policy_topic_of
from streams.policies.reader import read_published
from streams.policies.topic import PolicyTopic, Published
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec, MalformedRecordError
from streams.wire.policy import from_millis
from streams.wire.progress import progress_of
from streams.wire.registry import SchemaRegistry

OLD_CATALOGUE_MS: Final = 75 * DAY_MS
"""Exchange gets an update about every two months; a catalogue whose newest is older has probably missed one."""
CHECK_SECONDS: Final = 60.0
"""How long a check may take: a transaction that nobody ends, or a topic that is deleted meanwhile, is waited for."""
RECENT_MS: Final = DAY_MS
"""Dead letters of so long ago are told."""

Findings = Iterable[Finding]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined: the settings and what they name; `now` returns UTC milliseconds."""

    settings: Settings
    registry: SchemaRegistry
    rulebook: Callable[[Published], Rulebook]
    now: Callable[[], int]


class _PublishedOnce:
    """What is published, for all checks that need it; the topics are read when the first one asks."""

    def __init__(self, topic: PolicyTopic) -> None:
        self.topic = topic
        self._found: Published | None = None

    async def read(self) -> Published:
        if self._found is None:
            self._found = await read_published(self.topic)
        return self._found


async def examine(subject: Subject) -> AsyncIterator[Finding]:
    """All findings on the cluster, as they are found."""
    refusal = await cluster_of(subject.settings).refusal()
    if refusal is not None:
        yield problem("brokers", str(refusal), "docs/runbooks/TesKafkaUnreachable.md")
        yield skipped("cluster", "without a broker nothing on it can be looked at")
        return
    yield ok("brokers", f"{subject.settings.bootstrap} answers")
    published = _PublishedOnce(policy_topic_of(subject.settings))
    checks: tuple[tuple[str, str, Callable[[Subject], Awaitable[Findings]]], ...] = (
        ("topics", TOPICS_PAGE, _topics),
        ("rights", "docs/reference/access.md", _rights),
        ("connections", TOPICS_PAGE, _connections),
        ("workers", "docs/runbooks/TesNoWorkerReady.md", partial(_workers, published)),
        ("lag", "docs/runbooks/TesLagGrows.md", _lag),
        ("catalogue", "docs/how-to/catalogue.md", partial(_catalogue, published)),
        ("dead letters", "docs/how-to/dead-letters.md", _dead_letters),
    )
    for name, page, check in checks:
        limit = asyncio.timeout(CHECK_SECONDS)
        try:
            async with limit:
                findings = list(await check(subject))
        except (TopicError, KafkaError, DependencyError, OSError, ValueError) as error:
            why = f"not within {CHECK_SECONDS:.0f} s" if limit.expired() else f"{type(error).__name__}: {error}"
            findings = [problem(name, f"cannot be looked at: {why}", page)]
        for finding in findings:
            yield finding


async def _topics(subject: Subject) -> Findings:
    differences = await compare_topics(subject.settings)
    if not differences:
        return [ok("topics", "all exist, and are as tes topics create makes them")]
    return [(problem if one.is_serious else warning)("topics", str(one), TOPICS_PAGE) for one in differences]


async def _rights(subject: Subject) -> Findings:
    await check_access(subject.settings)
    return [ok("rights", "this user may see what a worker needs")]


async def _connections(subject: Subject) -> Findings:
    settings = subject.settings
    topic = settings.topic(TOPICS["inbound_connection"])
    records, partitions = await latest_records(cluster_of(settings), topic)
    codec = AvroCodec("inbound_connection", subject.registry)
    return examine_connections(await look_at_connections(records, partitions, codec), subject.now())


async def _workers(published: _PublishedOnce, subject: Subject) -> Findings:
    settings, cluster = subject.settings, cluster_of(subject.settings)
    topic = settings.topic(TOPICS["inbound_connection"])
    partitions = len((await partitions_of(cluster, topic))[topic])
    codec = AvroCodec("partition_progress", subject.registry)
    signs: dict[int, tuple[PartitionProgress, int]] = {}
    async for record in read_settled(cluster, settings.topic(TOPICS["partition_progress"])):
        try:
            sign = progress_of(await asyncio.to_thread(codec.decode, record.value))  # it may ask a registry
        except (MalformedRecordError, MalformedError):
            continue  # edges pass over them too, and say so
        if sign.app_id == settings.app_id:
            signs[sign.partition] = sign, record.timestamp
    rulebook = subject.rulebook(await published.read())

    def in_force(moment: int) -> str:
        policy = rulebook.policy_at(moment)
        return f"{policy.policy_id}/{policy.version}"

    return examine_signs(signs, partitions, await members_of(settings), in_force, subject.now())


async def _lag(subject: Subject) -> Findings:
    settings, cluster = subject.settings, cluster_of(subject.settings)
    topics = [settings.topic(name) for name in INPUTS]
    partitions = [one for rows in (await partitions_of(cluster, *topics)).values() for one in rows]
    extents = await extents_of(cluster, partitions)
    async with cluster.opened_admin() as admin:
        committed = await committed_offsets(admin, settings.app_id)
    begins: dict[TopicPartition, int] = {}
    for partition, (begin, end) in extents.items():
        if (done := max(begin, committed.get(partition, begin))) < end:
            begins[partition] = done
    waiting = {partition: extents[partition][1] - begin for partition, begin in begins.items()}
    oldest = await _first_records(cluster, begins, {partition: extents[partition][1] for partition in begins})
    return examine_lag(waiting, oldest, subject.now())


async def _first_records(
    cluster: Cluster, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> list[Any]:
    """The first record of each partition, and maybe some behind it.

    In front of it may be marks of transactions and what compaction left, so more is read where nothing was found.
    """
    found, left, most = list[Any](), dict(begins), 1
    while left:
        stops = {one: min(begin + most, ends[one]) for one, begin in left.items()}
        records = [record async for record in read_partitions(cluster, dict(left), stops)]
        found += records
        done = {TopicPartition(record.topic, record.partition) for record in records}
        left = {one: stop for one, stop in stops.items() if one not in done and stop < ends[one]}
        most *= 8
    return found


async def _catalogue(published: _PublishedOnce, subject: Subject) -> Findings:
    now = subject.now()
    version, tables = await tables_in_force(published.topic, await published.read(), from_millis(now))
    name = f"version {version}" if version else "the built-in one"
    text = f"{name}, whose newest update is of {tables.newest_day}"
    if tables.newest_day < iso(now - OLD_CATALOGUE_MS)[:10]:
        return [warning("catalogue", f"{text}: servers are judged by what was known then", "docs/how-to/catalogue.md")]
    return [ok("catalogue", text)]


async def _dead_letters(subject: Subject) -> Findings:
    cluster, now = cluster_of(subject.settings), subject.now()
    recent: dict[str, int] = {}
    for name in INPUTS:
        topic = f"{subject.settings.topic(name)}{DEAD_LETTER_SUFFIX}"
        records, _ = await latest_records(cluster, topic)
        recent[topic] = sum([1 async for record in records if record.timestamp >= now - RECENT_MS])
    found = {topic: count for topic, count in recent.items() if count}
    if not found:
        return [ok("dead letters", "none within a day")]
    text = ", ".join(f"{count} or more on {topic}" for topic, count in found.items())
    return [warning("dead letters", f"within a day: {text}", "docs/runbooks/TesDeadLetters.md")]
