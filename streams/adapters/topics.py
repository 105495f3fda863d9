"""Creates the topics of the product on a Kafka cluster, and says what is missing."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from streams.adapters.kafka_security import cluster_of
from streams.adapters.schemas import TOPICS
from streams.settings import Settings

MAX_INPUT_BYTES = 16 << 20
"""What the input topics take and their dead letters must hold, so that no record is refused for its size."""
HISTORY_MS = 400 * 24 * 3_600_000
"""How long commands, their audit and notifications are kept: more than a year of what was decided."""
DELETIONS_MS = 24 * 3_600_000
"""How long a compacted changelog tells of deleted rows; a store that was away for half as long is restored anew."""
HANDLED_LETTERS = "enforcement.dead-letters.v1"
"""What became of dead letters: one row for each that was replayed or discarded."""


class TopicError(RuntimeError):
    """A topic is missing or could not be created; the message names it and the reason."""


def topics_of(settings: Settings) -> list[NewTopic]:
    """Every topic with its partitions and configuration."""
    compact = {"cleanup.policy": "compact"}
    large = {"max.message.bytes": str(MAX_INPUT_BYTES)}
    configs: dict[str, dict[str, str]] = {settings.topic(topic): {} for topic in TOPICS.values()}
    for name in ("policy", "verdict", "server_report"):
        configs[settings.topic(TOPICS[name])] = compact
    configs[settings.topic(HANDLED_LETTERS)] = compact
    for name in ("inbound_connection", "admin_command"):
        configs[settings.topic(TOPICS[name])] = large
        configs[f"{settings.topic(TOPICS[name])}.dlq"] = large
    for name in ("admin_command", "admin_notification", "audit_record"):
        configs[settings.topic(TOPICS[name])] = {
            **configs[settings.topic(TOPICS[name])],
            "retention.ms": str(HISTORY_MS),
        }
    configs[settings.changelog] = {**compact, **large, "delete.retention.ms": str(DELETIONS_MS)}
    single = settings.topic(TOPICS["policy"])
    return [
        NewTopic(name, 1 if name == single else settings.partitions, settings.replication, topic_configs=config)
        for name, config in configs.items()
    ]


async def create_topics(settings: Settings) -> list[str]:
    """Create the topics that do not exist; gives the names of those created.

    Raises:
        TopicError: the broker refused one.
        KafkaError: the broker did not answer.
    """
    admin = cluster_of(settings).admin()
    await admin.start()
    try:
        response = await admin.create_topics(topics_of(settings))
    finally:
        await admin.close()
    created = []
    for name, code, *message in response.topic_errors:
        if code == 0:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:
            raise TopicError(f"{name}: {for_code(code).__name__}: {message[0] if message else ''}")
    return created


async def delete_topics(settings: Settings, names: Iterable[str]) -> None:
    """Delete those of the named topics that exist.

    Raises:
        TopicError: the broker refused one.
        KafkaError: the broker did not answer.
    """
    admin = cluster_of(settings).admin()
    await admin.start()
    try:
        response = await admin.delete_topics(sorted(names))
    finally:
        await admin.close()
    for name, code, *_ in response.topic_error_codes:
        if code not in (0, UnknownTopicOrPartitionError.errno):
            raise TopicError(f"{name}: not deleted: {for_code(code).__name__}")
