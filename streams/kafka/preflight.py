"""Asks, before a worker starts, whether it may see what it needs: later it would wait for ever, and say nothing."""

from __future__ import annotations

from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError

from streams.kafka.provisioning import topics_of
from streams.kafka.reader import partitions_of
from streams.kafka.security import cluster_of
from streams.kafka.topics import DEAD_LETTER_LOG, TOPICS, TopicError
from streams.settings.worker import Settings


async def check_access(settings: Settings) -> None:
    """See every topic of a worker, and the group.

    Raises:
        TopicError: a topic does not exist, or this user may not see it or the group.
        KafkaError: the cluster did not answer.
    """
    cluster = cluster_of(settings)
    others = {settings.topic(DEAD_LETTER_LOG), settings.topic(TOPICS["connector"])}  # for operators and edges
    await partitions_of(cluster, *(topic.name for topic in topics_of(settings) if topic.name not in others))
    try:
        async with cluster.opened_admin() as admin:
            await admin.list_consumer_group_offsets(settings.app_id)
    except GroupAuthorizationFailedError:
        raise TopicError(f"group {settings.app_id}: GroupAuthorizationFailedError") from None
    except GroupCoordinatorNotAvailableError:
        pass  # a cluster that had no group so far
