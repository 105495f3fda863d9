"""What a writer of transactions does, and which of the two a cluster gets.

With `transaction.version` 2, which new clusters of Kafka 4 have, a transaction takes a request for offsets, one for
each broker that gets batches, and one to end it (`implicit`). Any other cluster gets the requests that aiokafka knows
(`announced`): partitions and group are announced to the coordinator first. A cluster is asked when a writer starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any, Final, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion

from streams.kafka.cluster import Client, Cluster
from streams.kafka.transactional.announced import AnnouncedWriter
from streams.kafka.transactional.implicit import ImplicitWriter
from streams.kafka.transactional.messages import FINALIZED_FEATURES, FINALIZED_FEATURES_TAG, ApiVersionsRequest
from streams.kafka.transactional.unmarked import take_over

_FEATURE: Final = "transaction.version"
_NEEDED_VERSION: Final = 2


class TransactionalWriter(Protocol):
    """Writes one transaction after the other; whatever fails one ends it.

    `lost_answers` counts the requests that were sent again since nobody answered, or their coordinator went away.
    """

    lost_answers: int

    async def start(self) -> None:
        """Fence the writer that had the transactional id before, and settle its open transaction."""

    async def partitions_for(self, topic: str) -> set[int]:
        """The partitions of a topic."""

    def new_batch(self) -> Any:
        """An empty batch, for one partition: aiokafka's `BatchBuilder`."""

    async def begin(self) -> None:
        """Begin a transaction."""

    async def write(
        self,
        batches: Sequence[tuple[TopicPartition, Any]],
        offsets: Mapping[TopicPartition, int],
        group: str,
        offsets_sent: Callable[[], None],
    ) -> list[int]:
        """Write batches, those of a partition in their order, and commit offsets of a group: the next ones to read.

        Calls `offsets_sent` when the group's coordinator has the offsets, if there are any. Returns the first offset of
        each batch, or -1 where the broker did not tell.
        """

    async def commit(self) -> None:
        """Commit the transaction."""

    async def abort(self) -> None:
        """Abort the transaction."""

    async def stop(self) -> None:
        """Close its connections; an open transaction stays open."""


async def open_writer(
    cluster: Cluster,
    client_id: str,
    transactional_id: str,
    timeout_seconds: float,
    own: TopicPartition,
    topics: Sequence[str],
) -> TransactionalWriter:
    """A started writer; the broker aborts transactions of it that stay open for longer than `timeout_seconds`.

    The writer before is fenced, and in `own` and `topics` nothing that it wrote is undecided, see `take_over`. Whoever
    reads in `own` what was done does again what was aborted.

    Raises:
        ClusterError: no address of the cluster lets it in.
    """
    timeout_ms = round(timeout_seconds * 1000)
    async with cluster.opened_client(client_id=client_id) as client:
        is_implicit = await _adds_partitions(client)

        def make() -> TransactionalWriter:
            if is_implicit:
                return ImplicitWriter(cluster.client(client_id=client_id), transactional_id, timeout_ms)
            return AnnouncedWriter(cluster, client_id, transactional_id, timeout_ms)

        return await take_over(cluster, client, transactional_id, timeout_ms, own, topics, make)


async def _adds_partitions(client: Client) -> bool:
    """Whether brokers of this cluster add partitions to a transaction themselves."""
    try:
        answer = await client.send(client.get_random_node(), ApiVersionsRequest())
    except (IncompatibleBrokerVersion, NotImplementedError):  # a broker that has no features
        return False
    features = FINALIZED_FEATURES.decode(BytesIO(answer.tags.get(FINALIZED_FEATURES_TAG, b"\x01")))
    return any(name == _FEATURE and most >= _NEEDED_VERSION for name, most, _least, _tags in features)
