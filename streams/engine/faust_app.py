"""Faust with one event per fetched partition batch, and offsets that only the partition's transaction commits.

Faust keeps the consumer group, the assignor, agents, the worker and its web server. Replaced are the fetch loop (no
task, queue and lock per record), the commit of offsets, and the seek at the start of a generation.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("NO_CYTHON", "1")  # Faust's compiled stream inlines Consumer.ack, which is replaced here.

import faust
from aiokafka.errors import KafkaError
from faust.serializers.schemas import Schema
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams.engine.partition import PartitionConfig, PartitionWriter
from streams.engine.ports import Processor, Record, StateStore

log = logging.getLogger(__name__)

BATCHES_IN_FLIGHT = 2
"""Per partition: one is processed while the next one is fetched."""
FETCH_WAIT_MS = 100
"""How long the broker may hold an empty fetch; Faust's own 1,500 ms delays every seek and rebalance by as much."""
EXIT_FAILED = 70
"""Exit code of a worker that stopped because something failed (EX_SOFTWARE)."""


class StalledError(RuntimeError):
    """A partition has work and does not move."""


class BatchSchema(Schema[Any, Any]):
    """An event's value is the list of records as fetched; nothing is decoded per record."""

    def compile(self, app: Any, **_: Any) -> Any:
        """A decoder that passes the batch through."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # read when the consumer starts
        return consumer


class _Consumer(driver.Consumer):
    app: BatchApp

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic == self.app.source:
            return None  # the partition's transaction commits it
        offset: int | None = super()._new_offset(tp)
        return offset

    async def perform_seek(self) -> None:
        await super().perform_seek()
        # Without a commit Faust leaves a partition where it stands, although its first records may have been dropped.
        mine = {tp for tp in self.assignment() if tp.topic == self.app.source}
        await self.seek_wait({tp: 0 for tp in mine if not self._committed_offset[tp]})

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        await self.app.release()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await self.app.acquire({tp.partition for tp in assigned if tp.topic == self.app.source})
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_stop(self) -> None:
        await super().on_stop()
        await self.app.release()

    def position_and_end(self, partition: int) -> tuple[int, int] | None:
        """Where the next fetch begins and where the partition ended at the last one; None before the first."""
        consumer = self._thread._consumer
        subscription = consumer._subscription.subscription if consumer is not None else None
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(TP(self.app.source, partition)) if assignment is not None else None
        if state is None or state.highwater is None or not state.has_valid_position:
            return None
        return int(state.position), int(state.highwater)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        active = set(active_partitions or ())  # Faust empties the set meanwhile, and an empty one means all
        wanted = {tp for tp in active if tp.topic != self.app.source or self.app.has_room(tp.partition)}
        if wanted:
            return await super()._getmany(wanted, timeout if wanted == active else 0.02)
        await asyncio.sleep(0.005)
        return {}

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow.wait())
                active = set(self._get_active_partitions())
                generation = self.app.generation
                fetched = await self._getmany(active, FETCH_WAIT_MS / 1000)
                for raw, records in fetched.items():
                    tp = TP(raw.topic, raw.partition)
                    if not self.flow_active or generation != self.app.generation:
                        break  # of an old generation: the seek of the new one fetches them again
                    if tp in active:
                        await self.wait_first(self._deliver(tp, records, generation), self.suspend_flow.wait())
        except Exception as error:
            if not isinstance(error, self.consumer_stopped_errors) or not self.transport.app.should_stop:
                raise

    async def _deliver(self, tp: TP, records: list[Any], generation: int) -> None:
        last = records[-1]
        if tp.topic != self.app.source:
            for record in records:
                await self.callback(self._to_message(tp, record))
                self._read_offset[tp] = record.offset + 1
            return
        batch: Any = (generation, records)
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            None,
            None,
            batch,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        await self.callback(message)
        self._read_offset[tp] = last.offset + 1


class _Transport(driver.Transport):
    Consumer = _Consumer


class _Tables(TableManager):
    async def on_start(self) -> None:
        # Faust sleeps a second here for tables that are declared late; there are none.
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class BatchApp(faust.App):
    """A Faust app whose source topic is processed by one `PartitionWriter` per assigned partition."""

    def __init__(
        self,
        *args: Any,
        source: str,
        partition_config: PartitionConfig,
        open_store: Callable[[int], StateStore],
        processor: Callable[[int], Processor],
        reached: Callable[[str], None],
        **kwargs: Any,
    ) -> None:
        self.source, self.partition_config = source, partition_config
        self.writers: dict[int, PartitionWriter] = {}
        self.failure: BaseException | None = None
        self.generation = 0
        self._open_store, self._processor, self._reached = open_store, processor, reached
        super().__init__(*args, TableManager=_Tables, **kwargs)

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return _Transport(self.conf.broker_producer, self)

    def has_room(self, partition: int) -> bool:
        """Whether the partition may be fetched: its writer has less than `BATCHES_IN_FLIGHT` waiting."""
        writer = self.writers.get(partition)
        return writer is not None and writer.pending_batches < BATCHES_IN_FLIGHT

    def take(self, event: Any) -> None:
        """Hand a fetched batch to its partition; one of an old generation is dropped, and fetched again."""
        generation, records = event.value
        writer = self.writers.get(event.message.partition)
        if writer is not None and generation == self.generation:
            writer.take(
                [
                    Record(self.source, row.offset, row.timestamp, row.key, row.value, tuple(row.headers or ()))
                    for row in records
                ]
            )

    async def acquire(self, partitions: set[int]) -> None:
        """Become the owner of exactly these partitions."""
        await self.release()
        self._reached("assigned")
        self.generation += 1
        for partition in sorted(partitions):
            writer = PartitionWriter(
                self.partition_config,
                partition,
                lambda partition=partition: self._open_store(partition),  # type: ignore[misc]
                lambda partition=partition: self._processor(partition),  # type: ignore[misc]
                self._is_caught_up,
                self._reached,
            )
            self.writers[partition] = writer
            writer.start(self.fail)

    async def release(self) -> None:
        """Give up every partition; what is not committed is left to the next owner."""
        writers, self.writers = self.writers, {}
        await asyncio.gather(*(writer.stop() for writer in writers.values()))

    def _is_caught_up(self, partition: int) -> bool:
        writer = self.writers.get(partition)
        return writer is not None and not writer.pending_batches and self._fetched_all(partition)

    def _fetched_all(self, partition: int) -> bool:
        consumer: Any = self.consumer
        found = consumer.position_and_end(partition)
        return found is not None and found[0] >= found[1]

    async def watch(self, stall_seconds: float) -> None:
        """Stop the worker when a partition has work and nothing of it moves for `stall_seconds`.

        A consumer whose coordinator or leader came back may sit still for ever without an error; a new worker does not.
        """
        moved: dict[int, tuple[Any, float]] = {}
        while not self.should_stop:
            await self.sleep(stall_seconds / 10)
            ends = await self._ends(stall_seconds)
            now = asyncio.get_running_loop().time()
            consumer: Any = self.consumer
            for partition, writer in list(self.writers.items()):
                position = consumer.position_and_end(partition)
                at = (self.generation, writer.commits, writer.restored, position[0] if position else None)
                end = ends.get(TP(self.source, partition), 0) if ends is not None else 1
                has_work = writer.pending_batches > 0 or position is None or position[0] < end
                if moved.get(partition, (None, 0.0))[0] != at or not has_work:
                    moved[partition] = (at, now)
                elif now - moved[partition][1] > stall_seconds:
                    lag = f"position {position}, end {end}, {writer.pending_batches} batches taken"
                    return self.fail(StalledError(f"{self.source}-{partition}: no progress: {lag}"))
        return None

    async def _ends(self, seconds: float) -> dict[TP, int] | None:
        tps = [TP(self.source, partition) for partition in self.writers]
        try:
            async with asyncio.timeout(seconds):
                return dict(await self.consumer.highwaters(*tps)) if tps else {}
        except (TimeoutError, KafkaError):
            return None

    def fail(self, error: BaseException) -> None:
        """Stop the worker because of an error that is not one record's; nothing of its unit is committed."""
        if self.failure is not None:
            return
        self.failure = error
        log.critical("the worker stops: %s: %s", type(error).__name__, error, exc_info=error)
        # Nothing may keep a failed worker alive: its partitions belong to the next one.
        asyncio.get_running_loop().call_later(5.0, os._exit, EXIT_FAILED)
        self._crashing = asyncio.ensure_future(self.crash(error))
