"""Faust's consumer, with whole batches handed on and offsets that only the partition's transaction commits.

Replaced are the fetch loop (no task, queue and lock per record), the commit of offsets, and the seek at the start of a
generation.
"""

from __future__ import annotations

from typing import Any

from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams.engine.faust.fetch_schedule import FETCH_WAIT_MS, FetchSchedule
from streams.engine.faust.owner import PartitionOwner
from streams.engine.partition.offsets import check_gap


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that fetches."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Both are read when the consumer starts. Faust would read what a transaction has not committed, or aborted.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._isolation_level = "read_committed"
        return consumer

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Look for nothing: `run_watchdog` ends a worker that stands still.

        Faust knows of no commit here. Five minutes after its start it would call a worker broken that is only behind.
        """


class BatchConsumer(driver.Consumer):
    """Fetches what `FetchSchedule` chooses; its transport knows the owner of the partitions."""

    def __init__(self, transport: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(transport, *args, **kwargs)
        self._owner: PartitionOwner = transport.owner
        self.schedule = FetchSchedule(self._owner, self, self.app.conf.broker_max_poll_records)

    def _new_consumer_thread(self) -> Any:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic == self._owner.source:
            return None  # the partition's transaction commits it
        offset: int | None = super()._new_offset(tp)
        return offset

    async def perform_seek(self) -> None:
        """Faust seeks to the committed offsets; every source partition is then sought again to its writer's own."""
        self.schedule.forget_positions()
        await super().perform_seek()
        self.schedule.forget_positions()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the writers finish within the rebalance, then give their partitions up."""
        await super().on_partitions_revoked(revoked)
        await self._owner.release()
        self.schedule.forget_positions()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start a writer for each partition before Faust goes on."""
        await self._owner.acquire({tp.partition for tp in assigned if tp.topic == self._owner.source})
        self.schedule.forget_positions()
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_stop(self) -> None:
        """Finish what is in work before the group is left."""
        await super().on_stop()
        await self._owner.release()

    def position_and_end(self, partition: int) -> tuple[int, int] | None:
        """Where the next fetch begins and where the partition ended at the last one; None before the first."""
        consumer = self._thread._consumer
        subscription = consumer._subscription.subscription if consumer is not None else None
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(TP(self._owner.source, partition)) if assignment is not None else None
        if state is None or state.highwater is None or not state.has_valid_position:
            return None
        # Behind it a transaction is open, and nothing of it is read before it ends.
        stable = state.lso
        return int(state.position), int(state.highwater if stable is None or stable < 0 else stable)

    def partitions_of_source(self) -> int | None:
        """How many partitions the source has; None while that is not known."""
        consumer = self._thread._consumer
        known = consumer._client.cluster.partitions_for_topic(self._owner.source) if consumer is not None else None
        return len(known) if known else None

    async def fetch(self, partitions: set[TP], seconds: float) -> dict[TP, list[Any]]:
        """See `FetchClient`."""
        fetched = await self._getmany(partitions, seconds)
        return {TP(raw.topic, raw.partition): records for raw, records in fetched.items()}

    async def seek_to(self, tp: TP, offset: int) -> None:
        """See `FetchClient`."""
        await self.seek_wait({tp: offset})

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow.wait())
                active = set(self._get_active_partitions())  # Faust empties its set meanwhile
                generation = self._owner.generation
                try:
                    fetched = await self.schedule.fetch(active)
                except IllegalStateError:
                    if self.flow_active and generation == self._owner.generation:
                        raise
                    continue  # a partition was revoked while it was sought
                for tp, records in fetched.items():
                    if not self.flow_active or generation != self._owner.generation:
                        break  # of an old generation: the seek of the new one fetches them again
                    if tp.topic != self._owner.source:
                        await self.wait_first(self._deliver_each(tp, records), self.suspend_flow.wait())
                    elif self.schedule.is_seeked(tp):
                        await self._check_gap(tp, records[0].offset)
                        await self.wait_first(self._deliver(tp, records, generation), self.suspend_flow.wait())
        except Exception as error:
            if not isinstance(error, self.consumer_stopped_errors) or not self.transport.app.should_stop:
                self._owner.fail(error)
                raise

    async def _check_gap(self, tp: TP, first: int) -> None:
        """Tell a hole of the log's own making (transaction markers, compaction) from records that are gone unread."""
        expected = self._owner.next_offset(tp.partition)
        if expected is None or first <= expected:
            return
        begin = (await self.earliest_offsets(tp))[tp]
        if expected < begin <= first:
            check_gap(tp, expected, begin, first, self._owner.accepts_gaps)

    async def _deliver_each(self, tp: TP, records: list[Any]) -> None:
        for record in records:
            await self.callback(self._to_message(tp, record))
            self._read_offset[tp] = record.offset + 1

    async def _deliver(self, tp: TP, records: list[Any], generation: int) -> None:
        last = records[-1]
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
