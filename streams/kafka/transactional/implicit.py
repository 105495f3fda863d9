"""Transactions to which the brokers add partitions and group themselves (KIP-890, `transaction.version` 2).

One request after the other, also to different brokers: a broker that has to add something asks the coordinator, which
does one thing at a time for a transaction, and whoever comes meanwhile is told to come again, a batch after 20 ms. The
offsets go first, since theirs is the only request that is answered at once where the transaction before is not quite
ended; a batch would wait those 20 ms in the broker.

With each transaction the epoch rises, and the numbers of a producer's records begin at 0 in each partition. So a batch
that comes late, from a connection that broke, is refused; until then the same batch may be sent again, and is written
once. EndTxn may be sent again too.

What another try may mend is tried again until it is answered: the coordinator itself aborts what takes too long. The
rest is raised.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.errors import (
    BrokerResponseError,
    ConcurrentTransactions,
    CoordinatorNotAvailableError,
    DuplicateSequenceNumber,
    GroupAuthorizationFailedError,
    KafkaError,
    LeaderNotAvailableError,
    NotCoordinatorError,
    ProducerFenced,
    RequestTimedOutError,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from streams.kafka.cluster import Client
from streams.kafka.record import MAX_ROW_BYTES
from streams.kafka.transactional.messages import (
    EndTxnRequest,
    InitProducerIdRequest,
    ProduceRequest,
    TxnOffsetCommitRequest,
)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1
"""Seconds before a request is sent again, doubled each time: the transaction before mostly ends within some ms."""
_PRODUCE_TIMEOUT_MS: Final = 30_000
"""How long the leader of a partition waits for the replicas; below the time after which the client gives up."""

_FENCED: Final = frozenset((47, 90))
"""INVALID_PRODUCER_EPOCH and PRODUCER_FENCED."""
_MOVED: Final = (CoordinatorNotAvailableError, NotCoordinatorError)

Placed = tuple[int, bytes]
"""A batch as it is sent, and its place in the list of those to write."""
T = TypeVar("T")


class ImplicitWriter:
    """A `TransactionalWriter` for clusters with `transaction.version` 2."""

    def __init__(self, client: Client, transactional_id: str, timeout_ms: int) -> None:
        """Write with a client of its own, which `start` starts and `stop` closes."""
        self._client, self._id, self._timeout_ms = client, transactional_id, timeout_ms
        self._producer = (-1, -1)
        self._has_sent = False
        self._numbers: dict[TopicPartition, int] = {}
        self._coordinators: dict[tuple[CoordinationType, str], int] = {}
        self.lost_answers = 0

    async def start(self) -> None:
        """See `TransactionalWriter`."""
        await self._client.start()

        async def init() -> None:
            request = InitProducerIdRequest(self._id, self._timeout_ms)
            answer = await self._ask_coordinator(CoordinationType.TRANSACTION, self._id, request)
            _check(answer.error_code, f"{self._id}: InitProducerId")
            self._producer = answer.producer_id, answer.producer_epoch

        await self._try(init)

    async def partitions_for(self, topic: str) -> set[int]:
        """See `TransactionalWriter`."""
        partitions: set[int] = await self._client._wait_on_metadata(topic)
        return partitions

    def new_batch(self) -> Any:
        """See `TransactionalWriter`."""
        return BatchBuilder(MAX_ROW_BYTES, 0, is_transactional=True)

    async def begin(self) -> None:
        """See `TransactionalWriter`."""
        self._has_sent, self._numbers = False, {}

    async def write(
        self,
        batches: Sequence[tuple[TopicPartition, Any]],
        offsets: Mapping[TopicPartition, int],
        group: str,
        offsets_sent: Callable[[], None],
    ) -> list[int]:
        """See `TransactionalWriter`."""
        for topic in {where.topic for where, _ in batches}:
            await self.partitions_for(topic)
        self._has_sent = self._has_sent or bool(batches or offsets)
        if offsets:
            await self._try(lambda: self._commit_offsets(offsets, group))
            offsets_sent()
        found = [-1] * len(batches)
        for request in self._in_requests(batches):
            await self._try(partial(self._produce, request, found))
        return found

    def _in_requests(self, batches: Sequence[tuple[TopicPartition, Any]]) -> list[dict[TopicPartition, Placed]]:
        """Built batches with their places in the list, for one request after the other: one of a partition in each."""
        requests: list[dict[TopicPartition, Placed]] = []
        counts: dict[TopicPartition, int] = defaultdict(int)
        for place, (where, batch) in enumerate(batches):
            number = self._numbers.get(where, 0)
            batch._set_producer_state(*self._producer, number)
            self._numbers[where] = number + batch.record_count()
            if counts[where] == len(requests):
                requests.append({})
            requests[counts[where]][where] = place, bytes(batch._build())
            counts[where] += 1
        return requests

    async def _produce(self, left: dict[TopicPartition, Placed], found: list[int]) -> None:
        """Send batches to their leaders, one broker after the other, and leave those that have to be sent again."""
        by_leader: dict[int | None, dict[str, list[tuple[int, bytes]]]] = {}
        for where, (_, batch) in left.items():
            leader = self._client.metadata.leader_for_partition(where)
            by_leader.setdefault(leader, {}).setdefault(where.topic, []).append((where.partition, batch))
        refusal: KafkaError | None = None
        for leader, topics in by_leader.items():
            if leader is None or leader < 0:
                refusal = LeaderNotAvailableError(", ".join(topics))
                continue
            answer = await self._client.send(leader, ProduceRequest(self._id, _PRODUCE_TIMEOUT_MS, topics))
            for topic, partitions, _ in answer.topics:
                for partition, code, offset, _time, _start, _errors, message, _ in partitions:
                    where = TopicPartition(topic, partition)
                    try:
                        _check(code, f"{self._id}: Produce to {topic}-{partition}", message)
                    except DuplicateSequenceNumber:
                        offset = -1  # the broker has the batch, and no longer knows where
                    except KafkaError as error:
                        if not _is_passing(error):
                            raise
                        refusal = error
                        continue
                    place, _ = left.pop(where)
                    found[place] = offset
        if refusal is not None:
            raise refusal

    async def _commit_offsets(self, offsets: Mapping[TopicPartition, int], group: str) -> None:
        rows: dict[str, list[tuple[int, int]]] = {}
        for where, offset in offsets.items():
            rows.setdefault(where.topic, []).append((where.partition, offset))
        request = TxnOffsetCommitRequest(self._id, group, self._producer, rows)
        answer = await self._ask_coordinator(CoordinationType.GROUP, group, request)
        for topic, partitions, _tags in answer.topics:
            for partition, code, _ in partitions:
                _check(code, f"{self._id}: TxnOffsetCommit of {topic}-{partition}")

    async def commit(self) -> None:
        """See `TransactionalWriter`."""
        await self._end(is_commit=True)

    async def abort(self) -> None:
        """See `TransactionalWriter`."""
        await self._end(is_commit=False)

    async def _end(self, is_commit: bool) -> None:
        if not self._has_sent:
            return

        async def end() -> None:
            request = EndTxnRequest(self._id, self._producer, is_commit)
            answer = await self._ask_coordinator(CoordinationType.TRANSACTION, self._id, request)
            _check(answer.error_code, f"{self._id}: EndTxn")
            self._producer = answer.producer_id, answer.producer_epoch

        await self._try(end)
        self._has_sent = False

    async def stop(self) -> None:
        """See `TransactionalWriter`."""
        await self._client.stop()

    async def _ask_coordinator(self, kind: CoordinationType, key: str, request: Any) -> Any:
        node = self._coordinators.get((kind, key))
        if node is None:
            try:
                node = self._coordinators[kind, key] = await self._client.coordinator_lookup(kind, key)
            except (TransactionalIdAuthorizationFailed, GroupAuthorizationFailedError) as error:
                raise type(error)(f"{key}: {type(error).__name__}") from error  # it does not say to what
        return await self._client.send(node, request)

    async def _try(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step until it is done; what another try does not mend is raised."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await step()
            except KafkaError as error:
                if not _is_passing(error):
                    raise
                is_answer = isinstance(error, BrokerResponseError) and not isinstance(error, RequestTimedOutError)
                if not is_answer or isinstance(error, _MOVED):
                    self._coordinators.clear()
                    self.lost_answers += 1
                if not is_answer or error.invalid_metadata:
                    await self._client.force_metadata_update()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _is_passing(error: KafkaError) -> bool:
    """Whether another try may mend it; ConcurrentTransactions says that the transaction before is not quite ended."""
    return bool(error.retriable) or isinstance(error, ConcurrentTransactions)


def _check(code: int, what: str, message: str | None = None) -> None:
    """Raise what a broker's answer says.

    Raises:
        ProducerFenced: another writer has the transactional id, or the coordinator has aborted what took too long.
        KafkaError: what it was asked was refused; the message has the code.
    """
    if code == 0:
        return
    if code in _FENCED:
        raise ProducerFenced
    raise for_code(code)(f"{what}: error {code}{f' ({message})' if message else ''}")
