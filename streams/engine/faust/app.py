"""Faust with one event per fetched partition batch, and offsets that only the partition's transaction commits.

Faust keeps the consumer group, the assignor, agents, the worker and its web server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

os.environ.setdefault("NO_CYTHON", "1")  # Faust's compiled stream inlines Consumer.ack, which is replaced here.

import faust
from faust.serializers.schemas import Schema
from faust.tables import TableManager
from faust.transport.consumer import Fetcher
from faust.transport.drivers import aiokafka as driver
from faust.worker import Worker
from mode import Service

from streams.engine.config import PartitionConfig
from streams.engine.faust.consumer import BatchConsumer
from streams.engine.faust.owner import PartitionOwner
from streams.engine.partition.task import PartitionWriter
from streams.engine.ports import StateStore
from streams.engine.processor import Processor
from streams.engine.status import WorkerStatus
from streams.engine.telemetry import SILENT, Telemetry
from streams.log_events import log_event

log = logging.getLogger(__name__)

RELEASE_SECONDS = 30.0
"""How long partitions may take to be given up; half of Faust's rebalance time-out."""
LEAVE_SECONDS = 20.0
"""How long a worker that is told to end may take beyond `drain_seconds`: to abort what is left, and leave the group."""
EXIT_FAILED = 70
"""Exit code of a worker that stopped because something failed (EX_SOFTWARE)."""


class BatchSchema(Schema[Any, Any]):
    """An event's value is the list of records as fetched; nothing is decoded per record."""

    def compile(self, app: Any, **_: Any) -> Any:
        """A decoder that passes the batch through."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


class BatchWorker(Worker):
    """Faust's worker process; being told to end is known before anything ends."""

    app: BatchApp

    def _on_sigterm(self) -> None:
        self._drain(signal.SIGTERM)
        super()._on_sigterm()

    def _on_sigint(self) -> None:
        self._drain(signal.SIGINT)
        super()._on_sigint()

    async def _sentinel_task(self) -> None:
        """Nothing is left to wait for; Faust's own sleeps a second, in which nobody has the partitions."""

    def _drain(self, which: signal.Signals) -> None:
        if self.app.is_draining:
            return
        self.app.is_draining = True
        log.info("%s: finishing what is in work", which.name, extra=log_event("worker_draining", signal=which.name))
        # Without a broker nobody can be told that the group is left, and Faust would wait for one for ever.
        seconds = self.app.partition_config.drain_seconds + LEAVE_SECONDS
        timer = threading.Timer(seconds, _force_exit, [seconds])
        timer.daemon = True
        timer.start()


def _force_exit(seconds: float) -> None:
    about = log_event("worker_failed", reason="not ended in time")
    log.critical("not ended %.0f s after being told to: what is not committed is left", seconds, extra=about)
    os._exit(EXIT_FAILED)


class _Fetcher(Fetcher):
    @Service.task
    async def _fetcher(self) -> None:
        """Fetch until told to stop; Faust's takes the cancellation of an ending worker in a rebalance for a crash."""
        try:
            consumer: Any = self.app.consumer
            await consumer._drain_messages(self)
        finally:
            self.set_shutdown()


class _Transport(driver.Transport):
    Consumer = BatchConsumer
    Fetcher = _Fetcher

    def __init__(self, url: Any, app: BatchApp) -> None:
        super().__init__(url, app)
        self.owner: PartitionOwner = app


class _Tables(TableManager):
    async def on_start(self) -> None:
        # Faust sleeps a second here for tables that are declared late; there are none.
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class BatchApp(faust.App):
    """A Faust app whose source topic is processed by one `PartitionWriter` per assigned partition.

    `processor` makes that of a partition, among so many.
    """

    def __init__(
        self,
        *args: Any,
        partition_config: PartitionConfig,
        open_store: Callable[[int], StateStore],
        processor: Callable[[int, int], Processor],
        failpoint: Callable[[str], None],
        telemetry: Telemetry = SILENT,
        **kwargs: Any,
    ) -> None:
        self.source, self.partition_config = partition_config.source, partition_config
        self.writers: dict[int, PartitionWriter] = {}
        self.failure: BaseException | None = None
        self.generation = 0
        self.is_draining = self.is_assigned = False
        self.ends: dict[int, int] | None = None
        self._releasing = asyncio.Lock()
        self._telemetry = telemetry
        self._open_store, self._processor, self._failpoint = open_store, processor, failpoint
        super().__init__(*args, TableManager=_Tables, **kwargs)

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return _Transport(self.conf.broker_producer, self)

    def _on_rebalance_when_stopped(self) -> None:
        """Leave the consumer to its thread, which closes it in a moment.

        Faust closes its connections here, from another thread and beneath a loop that reads from them: a segmentation
        fault now and then.
        """

    @property
    def accepts_gaps(self) -> bool:
        """See `PartitionOwner`."""
        return self.partition_config.accepts_gaps

    def has_capacity(self, partition: int) -> bool:
        """See `PartitionOwner`."""
        writer = self.writers.get(partition)
        return writer is not None and writer.has_capacity

    def next_offset(self, partition: int) -> int | None:
        """See `PartitionOwner`."""
        writer = self.writers.get(partition)
        return writer.next_offset if writer is not None else None

    def notify(self, partition: int) -> None:
        """See `PartitionOwner`."""
        writer = self.writers.get(partition)
        if writer is not None:
            writer.notify()

    def enqueue(self, event: Any) -> None:
        """Hand a fetched batch to its partition; one of an old generation is dropped, and fetched again."""
        generation, records = event.value
        partition = event.message.partition
        writer = self.writers.get(partition)
        if writer is not None and generation == self.generation:
            writer.enqueue(records)
            consumer: Any = self.consumer
            consumer.schedule.delivered(partition)

    async def acquire(self, partitions: set[int]) -> None:
        """Become the owner of exactly these partitions; an ending worker, which is about to leave, of none."""
        await self.release()
        if self.should_stop:
            return
        self._failpoint("assigned")
        self.generation += 1
        for partition in sorted(partitions):
            writer = PartitionWriter(
                self.partition_config,
                partition,
                lambda partition=partition: self._open_store(partition),  # type: ignore[misc]
                lambda partitions, partition=partition: self._processor(partition, partitions),  # type: ignore[misc]
                self._is_caught_up,
                self._failpoint,
                self._telemetry,
            )
            self.writers[partition] = writer
            writer.start(self.fail)
        self.is_assigned = True
        log.info(
            "assigned: %s", sorted(partitions), extra=log_event("partitions_assigned", partitions=sorted(partitions))
        )

    async def release(self) -> None:
        """Give up every partition; what is not committed is left to the next owner."""
        self.is_assigned = False
        async with self._releasing:  # a rebalance may come while an ending worker finishes what is in work
            writers, self.writers = self.writers, {}
            try:
                async with asyncio.timeout(RELEASE_SECONDS):
                    await asyncio.gather(*(writer.stop() for writer in writers.values()))
            except Exception as error:  # a rebalance that waits for ever keeps the whole group from working
                self.fail(error)
        if writers:
            log.info(
                "released: %s", sorted(writers), extra=log_event("partitions_released", partitions=sorted(writers))
            )

    def status(self) -> WorkerStatus:
        """How it stands. `ends` of the source's partitions, None while the broker does not tell, are the watchdog's."""
        consumer: Any = self.consumer if self.generation else None
        partitions = []
        for partition, writer in sorted(self.writers.items()):
            place = consumer.position_and_end(partition)
            ends = [place[1]] if place is not None else []
            if self.ends is not None and partition in self.ends:
                ends.append(self.ends[partition])
            partitions.append(writer.status(max(ends, default=None)))
        return WorkerStatus(
            has_joined=self.generation > 0,
            is_assigned=self.is_assigned,
            is_draining=self.is_draining or self.should_stop,
            failure=None if self.failure is None else f"{type(self.failure).__name__}: {self.failure}",
            is_broker_reached=self.ends is not None,
            input_partitions=consumer.partitions_of_source() if consumer is not None else None,
            partitions=tuple(partitions),
        )

    def _is_caught_up(self, partition: int) -> bool:
        consumer: Any = self.consumer
        return bool(consumer.schedule.is_caught_up(partition))

    def fail(self, error: BaseException) -> None:
        """Stop the worker because of an error that is not one record's; nothing of its unit is committed."""
        if self.failure is not None:
            return
        self.failure = error
        kind = type(error).__name__
        log.critical(
            "the worker stops: %s: %s", kind, error, exc_info=error, extra=log_event("worker_failed", reason=kind)
        )
        # Nothing may keep a failed worker alive: its partitions belong to the next one.
        asyncio.get_running_loop().call_later(5.0, os._exit, EXIT_FAILED)
        self._crashing = asyncio.ensure_future(self.crash(error))
