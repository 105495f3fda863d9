"""Tells which cluster and topic a client talks to.

A topic that was deleted and made again has another id, and the offsets that were known of it mean nothing any more.
aiokafka asks for metadata in a version that has no ids of topics, so here is a newer one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from io import BytesIO
from typing import Any, ClassVar, NamedTuple

from aiokafka.errors import KafkaConnectionError, NoError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from streams.kafka.cluster import Cluster
from streams.kafka.topics import TopicError

_NO_ID = uuid.UUID(int=0)


class TopicIdentity(NamedTuple):
    """A topic of a cluster. `topic_id` is empty where the brokers are too old to tell (before Kafka 2.8)."""

    cluster_id: str
    topic_id: str
    partitions: int

    @property
    def source(self) -> str:
        """Names what offsets belong to; the number of partitions may grow."""
        return f"{self.cluster_id}/{self.topic_id}"


class _Uuid(AbstractType[uuid.UUID]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataStruct(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicRequest(Request[MetadataRequest_v5 | _MetadataStruct]):  # type: ignore[misc]
    """Asks for one topic, with its id where the broker knows ids."""

    API_KEY: ClassVar[int] = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[Any]) -> Any:
        if request_struct_class is MetadataRequest_v5:
            return MetadataRequest_v5([self._topic], allow_auto_topic_creation=False)
        return request_struct_class([(_NO_ID, self._topic, {})], False, False, False, {})


async def identify(client: Any, topic: str) -> TopicIdentity:
    """The identity of a topic, as the cluster has it that a started `AIOKafkaClient` talks to.

    Raises:
        TopicError: it does not exist, or the brokers do not tell of it.
        KafkaError: no broker answered.
    """
    node = client.get_random_node()
    if node is None:
        raise KafkaConnectionError("no broker is known")
    answer = (await client.send(node, _TopicRequest(topic))).to_object()
    (row,) = answer["topics"]
    if (error := for_code(row["error_code"])) is not NoError:
        if error is UnknownTopicOrPartitionError:
            raise TopicError(f"{topic}: does not exist: tes topics create")
        raise TopicError(f"{topic}: {error.__name__}")
    topic_id = row.get("topic_id", _NO_ID)
    return TopicIdentity(
        answer["cluster_id"] or "", "" if topic_id == _NO_ID else str(topic_id), len(row["partitions"])
    )


async def identities_of(cluster: Cluster, topics: Iterable[str]) -> dict[str, TopicIdentity]:
    """The identities of some topics.

    Raises:
        TopicError: one does not exist, or the brokers do not tell of it.
        KafkaError: no broker answered.
    """
    async with cluster.opened_admin() as admin:
        return {topic: await identify(admin._client, topic) for topic in topics}
