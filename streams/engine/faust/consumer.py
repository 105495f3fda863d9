"""Faust's consumer, with whole batches handed on and offsets that only the partition's transaction commits.

Replaced are the fetch loop (no task, queue and lock per record), the commit of offsets, and the seek at the start of a
generation.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams.engine.partition.offsets import check_gap

if TYPE_CHECKING:
    from streams.engine.faust.app import BatchApp

FETCH_WAIT_MS = 100
"""How long the broker may hold an empty fetch; Faust's own 1,500 ms delays every seek and rebalance by as much."""
BUSY_WAIT_SECONDS = 0.02
"""How long a fetch waits while another partition has no room, which it may have again at any time."""
BATCHES_IN_DELIVERY = 2
"""Per partition, between the fetch and its writer's queue."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that fetches."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Both are read when the consumer starts. Faust would read what a transaction has not committed, or aborted.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._isolation_level = "read_committed"
        return consumer


class BatchConsumer(driver.Consumer):
    """Fetches for partitions whose writer has room, from where the writer's state ends."""

    app: BatchApp

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seeked: set[TP] = set()
        self._fetched_up: set[TP] = set()
        self._ends: dict[TP, int] = {}
        self._in_delivery: dict[TP, int] = {}
        self._recently_served: set[TP] = set()

    def _new_consumer_thread(self) -> Any:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic == self.app.source:
            return None  # the partition's transaction commits it
        offset: int | None = super()._new_offset(tp)
        return offset

    def _forget_positions(self) -> None:
        self._seeked.clear()
        self._fetched_up.clear()
        self._in_delivery.clear()
        self._recently_served.clear()

    async def perform_seek(self) -> None:
        """Faust seeks to the committed offsets; every source partition is then sought again to its writer's own."""
        self._forget_positions()
        await super().perform_seek()
        self._forget_positions()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the writers finish within the rebalance, then give their partitions up."""
        await super().on_partitions_revoked(revoked)
        await self.app.release()
        self._forget_positions()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start a writer for each partition before Faust goes on."""
        await self.app.acquire({tp.partition for tp in assigned if tp.topic == self.app.source})
        self._forget_positions()
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_stop(self) -> None:
        """Finish what is in work before the group is left."""
        await super().on_stop()
        await self.app.release()

    def is_caught_up(self, partition: int) -> bool:
        """Whether the last fetch reached the partition's end, and all of it is with the writer."""
        tp = TP(self.app.source, partition)
        return tp in self._fetched_up and not self._in_delivery.get(tp)

    def delivered(self, partition: int) -> None:
        """A batch has reached its writer's queue."""
        tp = TP(self.app.source, partition)
        self._in_delivery[tp] = max(0, self._in_delivery.get(tp, 0) - 1)

    def position_and_end(self, partition: int) -> tuple[int, int] | None:
        """Where the next fetch begins and where the partition ended at the last one; None before the first."""
        consumer = self._thread._consumer
        subscription = consumer._subscription.subscription if consumer is not None else None
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(TP(self.app.source, partition)) if assignment is not None else None
        if state is None or state.highwater is None or not state.has_valid_position:
            return None
        # Behind it a transaction is open, and nothing of it is read before it ends.
        stable = state.lso
        return int(state.position), int(state.highwater if stable is None or stable < 0 else stable)

    def partitions_of_source(self) -> int | None:
        """How many partitions the source has; None while that is not known."""
        consumer = self._thread._consumer
        known = consumer._client.cluster.partitions_for_topic(self.app.source) if consumer is not None else None
        return len(known) if known else None

    async def _fetchable(self, active: set[TP]) -> set[TP]:
        """The partitions to fetch: of the source those with room, each sought to its writer's offset first."""
        wanted = set()
        for tp in active:
            if tp.topic != self.app.source:
                wanted.add(tp)
            elif self.app.has_capacity(tp.partition) and self._in_delivery.get(tp, 0) < BATCHES_IN_DELIVERY:
                if tp not in self._seeked:
                    # Its first records may have been fetched and dropped; the group's offset need not be the state's.
                    self._seeked.add(tp)
                    await self.seek_wait({tp: self.app.writers[tp.partition].next_offset or 0})
                wanted.add(tp)
        return wanted & {tp for tp in wanted if tp.topic != self.app.source or tp in self._seeked}

    async def _fetch(self, active: set[TP]) -> dict[TP, list[Any]]:
        wanted = await self._fetchable(active)
        if not wanted:  # an empty set means all to aiokafka
            await asyncio.sleep(0.005)
            return {}
        found = await self._records_of(wanted - self._recently_served, 0.0) if self._recently_served & wanted else {}
        if not found:
            self._recently_served.clear()
            found = await self._records_of(wanted, FETCH_WAIT_MS / 1000 if wanted == active else BUSY_WAIT_SECONDS)
        # aiokafka serves a partition until it has nothing left of it; the others get their turn after a full batch.
        if sum(map(len, found.values())) >= self.app.conf.broker_max_poll_records:
            self._recently_served.update(found)
        else:
            self._recently_served.clear()
        for tp in wanted & self._seeked:
            if tp in found:
                self._in_delivery[tp] = self._in_delivery.get(tp, 0) + 1
            self._note_end(tp)
        return found

    async def _records_of(self, wanted: set[TP], seconds: float) -> dict[TP, list[Any]]:
        if not wanted:
            return {}
        fetched = await self._getmany(wanted, seconds)
        return {TP(raw.topic, raw.partition): records for raw, records in fetched.items()}

    def _note_end(self, tp: TP) -> None:
        place = self.position_and_end(tp.partition)
        was_up = tp in self._fetched_up
        if place is not None:
            # A broker that has just come back may tell of an earlier end than it did before.
            self._ends[tp] = max(self._ends.get(tp, 0), place[1])
        if place is not None and place[0] >= self._ends[tp]:
            self._fetched_up.add(tp)
        else:
            self._fetched_up.discard(tp)
        if was_up != (tp in self._fetched_up):
            self.app.notify(tp.partition)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow.wait())
                active = set(self._get_active_partitions())  # Faust empties its set meanwhile
                generation = self.app.generation
                try:
                    fetched = await self._fetch(active)
                except IllegalStateError:
                    if self.flow_active and generation == self.app.generation:
                        raise
                    continue  # a partition was revoked while it was sought
                for tp, records in fetched.items():
                    if not self.flow_active or generation != self.app.generation:
                        break  # of an old generation: the seek of the new one fetches them again
                    if tp.topic != self.app.source:
                        await self.wait_first(self._deliver_each(tp, records), self.suspend_flow.wait())
                    elif tp in self._seeked:
                        await self._check_gap(tp, records[0].offset)
                        await self.wait_first(self._deliver(tp, records, generation), self.suspend_flow.wait())
        except Exception as error:
            if not isinstance(error, self.consumer_stopped_errors) or not self.transport.app.should_stop:
                self.app.fail(error)
                raise

    async def _check_gap(self, tp: TP, first: int) -> None:
        """Tell a hole of the log's own making (transaction markers, compaction) from records that are gone unread."""
        writer = self.app.writers.get(tp.partition)
        expected = writer.next_offset if writer is not None else None
        if writer is None or expected is None or first <= expected:
            return
        begin = (await self.earliest_offsets(tp))[tp]
        if expected < begin <= first:
            check_gap(tp, expected, begin, first, writer.config.accepts_gaps)

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
