"""Ends a transaction in the partitions in which its coordinator did not.

A coordinator that comes up with a transaction that was decided writes its end into every partition of it. From Kafka
4.3.0 on it takes a partition that has no leader just then for deleted and leaves it out (KAFKA-20734), as happens after
a crash of brokers. The transaction counts as complete, but its records there stay undecided until its writer's next
transaction in that partition ends, and then end as that one does: an abort would take back verdicts that were
committed. A changelog without its last rows looks like a lost state.

So a writer that takes an id over asks first whether the last transaction was committed, then looks for partitions that
are undecided though nobody writes with the id any more, and writes an end there. In a partition where the id has
nothing open, because it is another writer that is slow, this changes nothing.

A writer that is at work when its brokers go and come back looks too, once it has committed. It may not write such an
end itself, as another may have taken its place by then; it has to begin anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

from aiokafka import TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, for_code
from aiokafka.protocol.offset import OffsetRequest

from streams.kafka.cluster import Client, Cluster
from streams.kafka.transactional.messages import DescribeTransactionsRequest
from streams.log_events import log_event

log = logging.getLogger(__name__)

OPEN_SECONDS: Final = 2.0
"""How long records may be undecided before they are looked after: other writers commit within some milliseconds."""
LEADER_SECONDS: Final = 30.0
"""How long partitions are waited for that have no leader."""
_PAUSE_SECONDS: Final = 0.02
_FAILED_PAUSE_SECONDS: Final = 0.1
_LATEST: Final = -1
_UNCOMMITTED, _COMMITTED = 0, 1
_COMMITTED_STATES: Final = frozenset(("PrepareCommit", "CompleteCommit"))


class Startable(Protocol):
    """A writer with a transactional id."""

    async def start(self) -> None:
        """Fence the writer that had the id before."""

    async def stop(self) -> None:
        """Close its connections, also where the start failed."""


Writer = TypeVar("Writer", bound=Startable)


async def take_over(
    cluster: Cluster,
    client: Client,
    transactional_id: str,
    timeout_ms: int,
    own: TopicPartition,
    topics: Sequence[str],
    make: Callable[[], Writer],
) -> Writer:
    """A started writer of those that `make` gives, once nothing is undecided of what was written with its id before.

    That is true of `own`, the partition that nobody else writes to, and of every partition of `topics`. What was
    undecided is committed if the last transaction is known to be, or if nothing is undecided in `own`; else aborted.

    Raises:
        KafkaError: an end may not be written, or a writer cannot be started.
    """

    async def start() -> Writer:
        writer = make()
        try:
            await writer.start()
        except BaseException:
            await writer.stop()
            raise
        return writer

    is_committed = await was_committed(client, transactional_id)
    writer = await start()
    try:
        undecided = await undecided_partitions(client, own, topics)
        if not undecided:
            return writer
        is_commit = is_committed or own not in undecided
        await end_transaction(cluster, transactional_id, timeout_ms, undecided, is_commit)
    except BaseException:
        await writer.stop()
        raise
    await writer.stop()  # it was fenced by that
    return await start()


async def was_committed(client: Client, transactional_id: str) -> bool:
    """Whether the last transaction of an id is known to be committed.

    It is not where the coordinator knows of an abort only: that may have been of a later transaction, and one that is
    left undecided came before it.

    Waits for the coordinator, however long it takes. Where it refuses to answer, it will refuse the writer too.
    """
    while True:
        try:
            node = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
            answer = await client.send(node, DescribeTransactionsRequest(transactional_id))
            (code, _id, state, *_more) = answer.transactions[0]
            if code:
                raise for_code(code)
        except (IncompatibleBrokerVersion, NotImplementedError):
            return False
        except KafkaError as error:
            if not error.retriable:
                return False
        else:
            return state in _COMMITTED_STATES
        await asyncio.sleep(_FAILED_PAUSE_SECONDS)
        await client.force_metadata_update()


async def undecided_partitions(client: Client, own: TopicPartition, topics: Sequence[str]) -> list[TopicPartition]:
    """Those of one partition and of all of some topics that have records, written before now, that stay undecided.

    A topic that does not exist has none, nor has a partition without a leader.
    """
    now = asyncio.get_running_loop().time
    since = now()
    await client.set_topics([own.topic, *topics])
    left = {own} | {
        TopicPartition(topic, partition)
        for topic in topics
        for partition in client.metadata.partitions_for_topic(topic) or ()
    }
    ends: dict[TopicPartition, int] = {}
    while True:
        ends |= await _ends_of(client, left - ends.keys(), _UNCOMMITTED)
        stable = await _ends_of(client, left & ends.keys(), _COMMITTED)
        left -= {partition for partition, end in stable.items() if end >= ends[partition]}
        has_all = left <= ends.keys()
        waited = now() - since
        if not left or waited > (OPEN_SECONDS if has_all else LEADER_SECONDS):
            return sorted(left & ends.keys())
        await asyncio.sleep(_PAUSE_SECONDS if has_all else _FAILED_PAUSE_SECONDS)
        if not has_all:
            await client.force_metadata_update()


async def end_transaction(
    cluster: Cluster, transactional_id: str, timeout_ms: int, partitions: Sequence[TopicPartition], is_commit: bool
) -> None:
    """Write the end of an id's last transaction into partitions; whoever had the id is fenced.

    Raises:
        KafkaError: it may not be written.
    """
    log.warning(
        "%s: %d partitions are undecided though nobody writes there with this id (KAFKA-20734?): %s there now: %s",
        *(transactional_id, len(partitions), "committed" if is_commit else "aborted"),
        ", ".join(f"{partition.topic}-{partition.partition}" for partition in partitions[:5]),
        extra=log_event("transaction_ended", transactional_id=transactional_id, partitions=len(partitions)),
    )
    producer = cluster.producer(transactional_id=transactional_id, acks="all", transaction_timeout_ms=timeout_ms)
    try:
        await producer.start()
        await producer.begin_transaction()
        for partition in partitions:
            producer._txn_manager.maybe_add_partition_to_txn(partition)
        await (producer.commit_transaction() if is_commit else producer.abort_transaction())
    finally:
        await producer.stop()


async def _ends_of(
    client: Client, partitions: Iterable[TopicPartition], isolation_level: int
) -> dict[TopicPartition, int]:
    """Where partitions end, as far as their leaders tell."""
    by_leader: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for partition in partitions:
        leader = client.metadata.leader_for_partition(partition)
        if leader is not None and leader >= 0:
            by_leader[leader][partition.topic].append((partition.partition, _LATEST))
    found: dict[TopicPartition, int] = {}
    for leader, topics in by_leader.items():
        try:
            answer = await client.send(leader, OffsetRequest(-1, isolation_level, list(topics.items())))
        except KafkaError:
            continue
        for topic, rows in answer.topics:
            found |= {TopicPartition(topic, number): offset for number, code, _time, offset in rows if not code}
    return found
