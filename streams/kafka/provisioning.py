"""Creates the topics of the product on a Kafka cluster, and says what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from streams.kafka.cluster import Admin, Cluster
from streams.kafka.record import MAX_LETTER_BATCH_BYTES, MAX_RECORD_BYTES
from streams.kafka.security import cluster_of
from streams.kafka.topics import DEAD_LETTER_LOG, DEAD_LETTER_SUFFIX, TOPICS, TopicError
from streams.settings.worker import Settings

MAX_INPUT_BYTES = MAX_RECORD_BYTES
"""What the input topics take; their dead letters must hold it, so that no record is refused for its size."""
HISTORY_MS = 400 * 24 * 3_600_000
"""How long commands, their audit and notifications are kept: more than a year of what was decided."""
DELETIONS_MS = 24 * 3_600_000
"""How long a compacted changelog tells of deleted rows; a store that was away for half as long is restored anew."""
MOST_AWAY_MS = DELETIONS_MS // 2
"""How long a reader of a compacted topic may be away; one that was longer may have missed deletions."""


PROGRESS_SEGMENT_MS = 3_600_000
"""How often the topic of signs of life begins a segment: only those before it are compacted; readers read them all."""

_INPUTS: Final = ("inbound_connection", "admin_command")
_SINGLE: Final = ("policy", "catalogue", "partition_progress", "connector")
"""The topics of one partition."""
BROKERS_TIME: Final = {"message.timestamp.type": "LogAppendTime"}
"""Of topics whose records bear the broker's time: it tells writers and readers how far their own clocks are off."""
_LOOKS, _LOOK_SECONDS = 600, 0.1
_PARTITIONS, _REPLICATION, _CLEANUP, _EXISTENCE = "partitions", "replication", "cleanup.policy", "existence"


@dataclass(frozen=True, slots=True)
class Difference:
    """A topic that is not as it would have been created, or is not.

    `has` is None where this user may not see it, and `wanted` is the error then.
    """

    topic: str
    field: str
    has: str | None
    wanted: str

    @property
    def is_serious(self) -> bool:
        """Whether the service cannot work with it: tenants would be split, or records lost."""
        return self.has is not None and self.field in (_PARTITIONS, _CLEANUP, _EXISTENCE)

    def __str__(self) -> str:
        if self.field == _EXISTENCE:
            return f"{self.topic}: {self.has}: tes topics create"
        if self.has is None:
            return f"{self.topic}: {self.field}: not visible to this user: {self.wanted}"
        return f"{self.topic}: {self.field}: {self.has}: tes topics create would make it {self.wanted}"


def topics_of(settings: Settings) -> list[NewTopic]:
    """Every topic with its partitions and configuration.

    The broker stores input uncompressed, so that `max.message.bytes` bounds what a batch inflates to, and refuses one
    that becomes larger. With any other compression it bounds only what the batch was compressed to.
    """
    compact = {"cleanup.policy": "compact"}
    large = {"max.message.bytes": str(MAX_INPUT_BYTES)}
    configs: dict[str, dict[str, str]] = {settings.topic(topic): {} for topic in TOPICS.values()}
    for name in (*_SINGLE, "verdict", "server_report"):
        configs[settings.topic(TOPICS[name])] = compact
    configs[settings.topic(TOPICS["partition_progress"])] = {
        **compact,
        **BROKERS_TIME,
        "segment.ms": str(PROGRESS_SEGMENT_MS),
    }
    configs[settings.topic(DEAD_LETTER_LOG)] = compact
    for name in _INPUTS:
        configs[settings.topic(TOPICS[name])] = {**large, "compression.type": "uncompressed"}
        configs[f"{settings.topic(TOPICS[name])}{DEAD_LETTER_SUFFIX}"] = {
            "max.message.bytes": str(MAX_LETTER_BATCH_BYTES)
        }
    configs[settings.topic(TOPICS["inbound_connection"])] |= BROKERS_TIME
    for name in ("admin_command", "admin_notification", "audit_record"):
        configs[settings.topic(TOPICS[name])] = {
            **configs[settings.topic(TOPICS[name])],
            "retention.ms": str(HISTORY_MS),
        }
    configs[settings.changelog] = {**compact, **large, "delete.retention.ms": str(DELETIONS_MS)}
    single = {settings.topic(TOPICS[name]) for name in _SINGLE}
    return [
        NewTopic(name, 1 if name in single else settings.partitions, settings.replication, topic_configs=config)
        for name, config in configs.items()
    ]


async def create_topics(settings: Settings) -> list[str]:
    """Create the topics that do not exist; returns the names of those created.

    Raises:
        TopicError: the broker refused one.
        KafkaError: the broker did not answer.
    """
    return await create_missing(cluster_of(settings), topics_of(settings))


async def create_missing(cluster: Cluster, topics: list[NewTopic]) -> list[str]:
    """Create those of the topics that do not exist; returns the names of those created.

    Whoever finds all of them, made by others, needs no right to create any. Then every broker that answers knows all of
    the topics: who asks one next is not told that there is none.

    Raises:
        TopicError: the broker refused one, or a broker does not learn of one.
        KafkaError: the broker did not answer.
    """
    created: list[str] = []
    names = [topic.name for topic in topics]
    async with cluster.opened_admin() as admin:
        for _ in range(_LOOKS):
            # At each look: one that was still being deleted may have been there, and is gone by now.
            created += await _create_absent(admin, topics)
            # The controller, which makes them, knows them first.
            if not (unknown := await admin.unknown_topics(names)):
                return created
            await asyncio.sleep(_LOOK_SECONDS)
    raise TopicError(f"{min(unknown)}: a broker does not know it {_LOOKS * _LOOK_SECONDS:.0f} s after it was made")


async def _create_absent(admin: Admin, topics: list[NewTopic]) -> list[str]:
    described = await admin.describe_topics([topic.name for topic in topics])
    there = {row["topic"] for row in described if row["error_code"] == 0}
    missing = [topic for topic in topics if topic.name not in there]
    response = await admin.create_topics(missing) if missing else None
    created = []
    for name, code, *message in response.topic_errors if response is not None else ():
        if code == 0:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:
            raise TopicError(f"{name}: {for_code(code).__name__}: {message[0] if message else ''}")
    return created


async def compare_topics(settings: Settings, left_out: frozenset[str] = frozenset()) -> list[Difference]:
    """How the topics that exist differ from those that would be created, but for those `left_out`; changes nothing.

    Raises:
        KafkaError: the broker did not answer.
    """
    wanted = {topic.name: topic for topic in topics_of(settings) if topic.name not in left_out}
    if not wanted:
        return []
    async with cluster_of(settings).opened_admin() as admin:
        described = await admin.describe_topics(list(wanted))
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in wanted]
        answers = await admin.describe_configs(asked)
    configs = {name: (code, entries) for answer in answers for code, _, _, name, entries in answer.resources}
    differences: list[Difference] = []
    for found in sorted(described, key=lambda row: row["topic"]):
        topic = wanted[found["topic"]]
        if found["error_code"] == UnknownTopicOrPartitionError.errno:
            differences.append(Difference(topic.name, _EXISTENCE, "does not exist", "exists"))
            continue
        if found["error_code"]:
            error = for_code(found["error_code"]).__name__
            differences.append(Difference(topic.name, _PARTITIONS, None, error))
            continue
        differences += _compare_places(topic, found["partitions"])
        differences += _compare_settings(topic, *configs[topic.name])
    return differences


def _compare_places(topic: NewTopic, partitions: list[dict[str, Any]]) -> list[Difference]:
    differences = []
    if len(partitions) != topic.num_partitions:
        differences.append(Difference(topic.name, _PARTITIONS, str(len(partitions)), str(topic.num_partitions)))
    replicas = sorted({len(partition["replicas"]) for partition in partitions})
    if topic.replication_factor > 0 and replicas != [topic.replication_factor]:
        has = ", ".join(map(str, replicas))
        differences.append(Difference(topic.name, _REPLICATION, has, str(topic.replication_factor)))
    return differences


def _compare_settings(topic: NewTopic, error_code: int, entries: list[Any]) -> list[Difference]:
    if error_code:
        return [Difference(topic.name, "settings", None, for_code(error_code).__name__)]
    has = {name: value for name, value, *_ in entries}
    wanted = {_CLEANUP: "delete", **topic.topic_configs}
    return [
        Difference(topic.name, name, str(has.get(name)), value)
        for name, value in sorted(wanted.items())
        if has.get(name) != value
    ]


async def delete_topics(settings: Settings, names: Iterable[str]) -> None:
    """Delete those of the named topics that exist.

    Raises:
        TopicError: the broker refused one.
        KafkaError: the broker did not answer.
    """
    async with cluster_of(settings).opened_admin() as admin:
        response = await admin.delete_topics(sorted(names))
    for name, code, *_ in response.topic_error_codes:
        if code not in (0, UnknownTopicOrPartitionError.errno):
            raise TopicError(f"{name}: not deleted: {for_code(code).__name__}")
