"""Connectors on their topic, for fleets: a set is published as a whole, and replaces the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from streams.edge.connectors.entries import ConnectorsError, Entry
from streams.kafka.cluster import Cluster
from streams.kafka.follower import KafkaLog
from streams.kafka.publisher import opened_publisher
from streams.kafka.security import cluster_of
from streams.kafka.table import read_table
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec, MalformedRecordError
from streams.wire.registry import registry_of


class ConnectorTopic(NamedTuple):
    """Where connectors are published."""

    cluster: Cluster
    name: str
    codec: AvroCodec


class PublishedSet(NamedTuple):
    """How many connectors a publication wrote, and which it took away."""

    written: int
    removed: tuple[str, ...]


def connector_topic_of(settings: Settings) -> ConnectorTopic:
    """The topic on the cluster of the settings."""
    codec = AvroCodec("connector", registry_of(settings))
    return ConnectorTopic(cluster_of(settings), settings.topic(TOPICS["connector"]), codec)


async def publish_connectors(
    topic: ConnectorTopic, app_id: str, entries: Sequence[Entry], published_at: int, published_by: str, source: str
) -> PublishedSet:
    """Publish a set in one transaction: those that are not in it are taken away.

    What is published before is read once no other publisher can publish any more.

    Args:
        topic: where.
        app_id: names the publisher.
        entries: the whole set, without overlaps.
        published_at: UTC milliseconds.
        published_by: who.
        source: where it comes from, in the publisher's words.

    Raises:
        RecordEncodingError: a connector is too large for a record.
        TopicError: the topic does not exist.
        KafkaError: another publisher began meanwhile, or the broker refused it.
    """
    publication = {"published_at": published_at, "published_by": published_by, "source": source}
    rows = {entry.name.encode(): topic.codec.encode(record_of(entry) | publication) for entry in entries}
    async with opened_publisher(topic.cluster, f"{app_id}-connectors-publisher", topic.name) as producer:
        removed = [key for key in await _read_rows(topic) if key not in rows]
        async with producer.transaction():
            for key, value in (*rows.items(), *((key, None) for key in removed)):
                await producer.send(topic.name, value, key=key, partition=0)
    return PublishedSet(len(rows), tuple(key.decode(errors="replace") for key in removed))


async def read_published_connectors(topic: ConnectorTopic) -> list[dict[str, Any]]:
    """The records of all connectors that are published, in the order of their keys.

    Raises:
        ConnectorsError: a record cannot be read.
        TopicError: the topic does not exist.
        KafkaError: the broker did not answer.
    """
    found = []
    for key, value in sorted((await _read_rows(topic)).items()):
        try:
            found.append(topic.codec.decode(value))
        except MalformedRecordError as error:
            raise ConnectorsError([f"{topic.name}: {key.decode(errors='replace')}: {error}"]) from None
    return found


def record_of(entry: Entry) -> dict[str, Any]:
    """What a connector's record says of it."""
    return {
        "tenant_id": entry.connector.tenant_id,
        "connector_id": entry.connector.connector_id,
        "type": entry.connector.type.value,
        "tls_subjects": list(entry.tls_subjects),
        "tls_fingerprints": list(entry.tls_fingerprints),
        "cidrs": [str(network) for network in entry.networks],
        "contacts": list(entry.contacts),
    }


async def _read_rows(topic: ConnectorTopic) -> dict[bytes, bytes]:
    return await read_table(KafkaLog(topic.cluster, [topic.name]), bytes)
