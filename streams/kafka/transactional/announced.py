"""Transactions as aiokafka writes them: partitions and group are announced to the coordinator first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition

from streams.kafka.cluster import Cluster
from streams.kafka.record import MAX_REQUEST_BYTES, MAX_ROW_BYTES


class AnnouncedWriter:
    """A `TransactionalWriter` for every cluster; aiokafka does not tell of answers that were lost."""

    lost_answers = 0

    def __init__(self, cluster: Cluster, client_id: str, transactional_id: str, timeout_ms: int) -> None:
        self._producer = cluster.producer(
            client_id=client_id,
            transactional_id=transactional_id,
            acks="all",
            linger_ms=0,
            # A transaction waits this long for each step that the coordinator has not finished.
            retry_backoff_ms=2,
            max_batch_size=MAX_ROW_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            transaction_timeout_ms=timeout_ms,
        )

    async def start(self) -> None:
        """See `TransactionalWriter`."""
        await self._producer.start()

    async def partitions_for(self, topic: str) -> set[int]:
        """See `TransactionalWriter`."""
        partitions: set[int] = await self._producer.partitions_for(topic)
        return partitions

    def new_batch(self) -> Any:
        """See `TransactionalWriter`."""
        return self._producer.create_batch()

    async def begin(self) -> None:
        """See `TransactionalWriter`."""
        await self._producer.begin_transaction()

    async def write(
        self,
        batches: Sequence[tuple[TopicPartition, Any]],
        offsets: Mapping[TopicPartition, int],
        group: str,
        offsets_sent: Callable[[], None],
    ) -> list[int]:
        """See `TransactionalWriter`."""

        async def send_offsets() -> None:
            if offsets:
                await self._producer.send_offsets_to_transaction(dict(offsets), group)
                offsets_sent()

        sent = [
            await self._producer.send_batch(batch, where.topic, partition=where.partition) for where, batch in batches
        ]
        # The coordinator takes the offsets while the brokers write the batches.
        await asyncio.gather(*sent, send_offsets())
        return [answer.result().offset for answer in sent]

    async def commit(self) -> None:
        """See `TransactionalWriter`."""
        await self._producer.commit_transaction()

    async def abort(self) -> None:
        """See `TransactionalWriter`."""
        await self._producer.abort_transaction()

    async def stop(self) -> None:
        """See `TransactionalWriter`."""
        await self._producer.stop()
