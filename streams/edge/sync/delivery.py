"""Sends events, and returns the outcome of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
    UnsupportedForMessageFormatError,
)

from streams.edge.sync.skew import ClockSkew
from streams.kafka.cluster import Cluster, Producer
from streams.kafka.deadlines import NoAnswerError, leave_behind, within
from streams.kafka.partitioner import kafka_partition
from streams.kafka.record import MAX_REQUEST_BYTES, MAX_ROW_BYTES

MAX_BATCH_BYTES: Final = MAX_ROW_BYTES
"""Below the broker's default of `message.max.bytes`."""
_REQUEST_MS: Final = 10_000
RECORDS_FAULT: Final = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
    UnsupportedForMessageFormatError,
)
"""Kafka's errors for records or batches that it will never take."""

partition_of = lru_cache(100_000)(kafka_partition)
"""Tenants are few beside their events."""


class OutgoingEvent(NamedTuple):
    """An event as it is sent; `seq` is its number in the spool."""

    seq: int
    key: bytes
    value: bytes


class Outcome(NamedTuple):
    """The outcome of a partition's events: those `delivered`, those `refused` with the reason, what else failed."""

    delivered: list[int]
    refused: list[tuple[int, str]]
    failure: Exception | None


class Delivery:
    """A producer, and how large its batches may be. It is thrown away after any failure."""

    def __init__(
        self, cluster: Cluster, topic: str, skew: ClockSkew, clock: Callable[[], int], batch_bytes: int
    ) -> None:
        """Send to a topic in batches of so many bytes; `clock` returns UTC milliseconds."""
        self._topic, self._skew, self._clock = topic, skew, clock
        self.batch_bytes = batch_bytes
        """Becomes smaller where the topic takes none so large."""
        self._producer: Producer = cluster.producer(
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            retry_backoff_ms=100,
            request_timeout_ms=_REQUEST_MS,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
        )

    async def start(self, seconds: float) -> None:
        """Connect.

        Raises:
            KafkaError: no broker lets it in.
            NoAnswerError: no broker answers in time.
        """
        await within(seconds, self._producer.start(), "connecting a producer")

    async def partitions(self, seconds: float) -> int:
        """How many partitions the topic has.

        Raises:
            KafkaError: it does not exist.
            NoAnswerError: no broker answers in time.
        """
        return len(await within(seconds, self._producer.partitions_for(self._topic), f"looking for {self._topic}"))

    async def throw_away(self) -> None:
        """Disconnect, whatever the brokers do."""
        await self._producer.throw_away()

    async def send(self, groups: dict[int, list[OutgoingEvent]], seconds: float) -> dict[int, Outcome]:
        """Send the events of each partition in order, all partitions at once; returns after so many seconds at most."""
        tasks = {number: asyncio.create_task(self._send_group(number, group)) for number, group in groups.items()}
        for task in tasks.values():
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait(tasks.values(), timeout=seconds)
        finally:
            for task in tasks.values():
                if not task.done():
                    leave_behind(task)
        return {number: _outcome(task, seconds) for number, task in tasks.items()}

    async def _send_group(self, partition: int, events: Sequence[OutgoingEvent]) -> Outcome:
        delivered: list[int] = []
        place = 0
        while place < len(events):
            batch = self._producer.create_batch()
            begin, size = place, 0
            while place < len(events):
                event = events[place]
                size += len(event.key) + len(event.value)
                if place > begin and size > self.batch_bytes:
                    break
                moment = event.seq // 1000
                if batch.append(key=event.key, value=event.value, timestamp=moment) is None:
                    break
                place += 1
            seqs = [event.seq for event in events[begin:place]]
            try:
                await self._send_batch(partition, batch)
            except RECORDS_FAULT as error:
                why = f"{type(error).__name__}: {error}"
                if len(seqs) == 1:
                    return Outcome(delivered, [(seqs[0], why)], error)
                self.batch_bytes = max(1, min(self.batch_bytes, size) // 2)
                return Outcome(delivered, [], error)
            except KafkaError as error:
                return Outcome(delivered, [], error)
            delivered += seqs
        return Outcome(delivered, [], None)

    async def _send_batch(self, partition: int, batch: Any) -> None:
        sent_at = self._clock()
        answer = await (await self._producer.send_batch(batch, self._topic, partition=partition))
        if answer.timestamp_type == 1:
            self._skew.answered(sent_at, answer.timestamp, self._clock())


def _outcome(task: asyncio.Task[Outcome], seconds: float) -> Outcome:
    if not task.done() or task.cancelled():
        return Outcome([], [], NoAnswerError(f"events were not acknowledged within {seconds:g} s"))
    if isinstance(error := task.exception(), Exception):
        return Outcome([], [], error)
    return task.result()
