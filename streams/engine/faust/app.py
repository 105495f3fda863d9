"""Faust with one event per fetched partition batch, and offsets that only the partition's transaction commits.

Faust keeps the consumer group, the assignor, the agents and the worker process.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, cast

import faust

from streams.engine.config import PartitionConfig
from streams.engine.deadlines import FAIL_SECONDS, RELEASE_SECONDS
from streams.engine.faust.consumer import BatchConsumer
from streams.engine.faust.transport import BatchTransport, NoTables
from streams.engine.partition.task import PartitionWriter
from streams.engine.ports import StateStore
from streams.engine.processor import Processor
from streams.engine.status import PartitionStatus, WorkerStatus
from streams.engine.telemetry import SILENT, Telemetry
from streams.log_events import log_event

log = logging.getLogger(__name__)

EXIT_FAILED = 70
"""Exit code of a worker that stopped because something failed (EX_SOFTWARE)."""


class BatchApp(faust.App):
    """A Faust app whose source topic is processed by one `PartitionWriter` per assigned partition.

    It is the `PartitionOwner` of its consumer. `processor` makes that of a partition, among so many.
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
        super().__init__(*args, TableManager=NoTables, **kwargs)

    def _new_transport(self) -> Any:
        return BatchTransport(self.conf.broker_consumer, self, self)

    def _new_producer_transport(self) -> Any:
        return BatchTransport(self.conf.broker_producer, self, self)

    def _on_rebalance_when_stopped(self) -> None:
        """Leave the consumer to its thread, which closes it in a moment.

        Faust closes its connections here, from another thread and beneath a loop that reads from them: a segmentation
        fault now and then.
        """

    @property
    def batch_consumer(self) -> BatchConsumer:
        """Its consumer; there is one once the worker runs."""
        return cast(BatchConsumer, self.consumer)

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
        """Hand a fetched batch to its partition; a batch of an old generation is dropped and fetched again."""
        generation, records = event.value
        partition = event.message.partition
        writer = self.writers.get(partition)
        if writer is not None and generation == self.generation:
            writer.enqueue(records)
            self.batch_consumer.schedule.delivered(partition)

    async def acquire(self, partitions: set[int]) -> None:
        """Become the owner of exactly these partitions, or of none during shutdown."""
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
        """Release every partition; uncommitted work is left to the next owner."""
        self.is_assigned = False
        async with self._releasing:  # a rebalance may happen while a worker that shuts down finishes its work
            writers, self.writers = self.writers, {}
            try:
                async with asyncio.timeout(RELEASE_SECONDS):
                    await asyncio.gather(*(writer.stop() for writer in writers.values()))
            except Exception as error:  # noqa: BLE001 - a rebalance that waits forever keeps the whole group from working
                self.fail(error)
        if writers:
            log.info(
                "released: %s", sorted(writers), extra=log_event("partitions_released", partitions=sorted(writers))
            )

    def status(self) -> WorkerStatus:
        """Its status; the watchdog sets `ends`, which is None while the broker does not respond."""
        has_joined = self.generation > 0
        return WorkerStatus(
            has_joined=has_joined,
            is_assigned=self.is_assigned,
            is_draining=self.is_draining or self.should_stop,
            failure=None if self.failure is None else f"{type(self.failure).__name__}: {self.failure}",
            is_broker_reached=self.ends is not None,
            input_partitions=self.batch_consumer.partitions_of_source() if has_joined else None,
            partitions=tuple(self._partition_status(*item) for item in sorted(self.writers.items())),
        )

    def _partition_status(self, partition: int, writer: PartitionWriter) -> PartitionStatus:
        place = self.batch_consumer.position_and_end(partition)
        ends = [place[1]] if place is not None else []
        if self.ends is not None and partition in self.ends:
            ends.append(self.ends[partition])
        return writer.status(max(ends, default=None))

    def _is_caught_up(self, partition: int) -> bool:
        return self.batch_consumer.schedule.is_caught_up(partition)

    def fail(self, error: BaseException) -> None:
        """Stop the worker because of an error that is not one record's; nothing of its unit is committed."""
        if self.failure is not None:
            return
        self.failure = error
        kind = type(error).__name__
        log.critical(
            "worker failed, stopping: %s: %s",
            kind,
            error,
            exc_info=error,
            extra=log_event("worker_failed", reason=kind),
        )
        # Nothing may keep a failed worker alive: its partitions belong to the next one.
        asyncio.get_running_loop().call_later(FAIL_SECONDS, os._exit, EXIT_FAILED)
        self._crashing = asyncio.ensure_future(self.crash(error))
