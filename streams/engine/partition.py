"""The single writer of one source partition: fence, restore, then one transaction after the other.

1. Fence: starting the partition's transactional producer ends the epoch of whoever had the partition before and
   settles his open transaction.
2. Restore: the changelog is read with read_committed from the position stored locally to its end. Positions pass
   transaction markers, offsets of records do not.
3. Process: records at or below the marker in the state are skipped; a record that cannot be processed becomes a
   dead letter. A second input (the side topic, same partitions) is merged by time: its record goes before one of the
   source that is not older. Reading the side topic here, by assignment, keeps both partitions in one place whatever
   the group's assignor does.
4. Commit: outputs, changed state, marker and consumer offset in one transaction.
5. Store: the same changes in one local write batch, after the commit, so that the store never knows more than Kafka.
6. Tick: due timers run between batches, as a unit of work like any other.
Any error but that of a single record ends the worker; nothing is skipped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from streams.engine.ports import Output, Processor, Record, StateStore, StoreError, View

log = logging.getLogger(__name__)

MARKER = b"\0source-offset"
"""State row: the last source offset that the state contains; travels in the changelog."""
SIDE_MARKER = b"\0side-offset"
"""State row: the last offset of the side topic that the state contains."""
POSITION = b"\0changelog-position"
"""Local row: the changelog position up to which the store is filled; never leaves the machine."""
UNIT_BYTES = 4 << 20
"""A unit of work is cut, between two records, when its changes and outputs exceed this."""
UNIT_TIMERS = 1_000
"""Timers that fire in one unit of work."""
SIDE_RECORDS = 10_000
"""Records of the side topic that are read ahead."""
KAFKA_BATCH_BYTES = 900_000
"""Below the broker's default `message.max.bytes` of 1 MiB, headers of the batch included."""
MAX_REQUEST_BYTES = 20 << 20
"""A dead letter may hold a record as large as the source topic took."""

_partitioner = DefaultPartitioner()


def kafka_partition(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key."""
    every = list(range(partitions))
    return int(_partitioner(key, every, every))


@dataclass(frozen=True, slots=True)
class PartitionConfig:
    """Where a partition's records come from and go to; times in seconds."""

    bootstrap: str
    app_id: str
    group: str
    source: str
    side: str
    changelog: str
    tick_seconds: float = 1.0
    transaction_timeout_seconds: float = 60.0


class SideInput:
    """Reads the side topic of one partition ahead of its writer."""

    def __init__(self, bootstrap: str, partition: TopicPartition, start: int, wake: Callable[[], None]) -> None:
        self.waiting: deque[Record] = deque()
        self.is_at_end = False
        self._bootstrap, self._partition, self._start, self._wake = bootstrap, partition, start, wake
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Begin to read."""
        self._consumer = consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        consumer.assign([self._partition])
        consumer.seek(self._partition, self._start)
        self._task = asyncio.create_task(self._read(consumer))

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        tp = self._partition
        while True:
            if len(self.waiting) >= SIDE_RECORDS:
                await asyncio.sleep(0.05)
                continue
            fetched = await consumer.getmany(tp, timeout_ms=200)
            for row in fetched.get(tp, ()):
                self.waiting.append(
                    Record(tp.topic, row.offset, row.timestamp, row.key, row.value, tuple(row.headers or ()))
                )
            end = consumer.highwater(tp)
            self.is_at_end = end is not None and await consumer.position(tp) >= end
            if fetched:
                self._wake()
            self._changed.set()

    async def known(self) -> None:
        """Wait until the next record is here, or there is none."""
        while not self.waiting and not self.is_at_end:
            self._changed.clear()
            self.check()
            await self._changed.wait()

    def check(self) -> None:
        """Raise what ended the reading."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """End the reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._consumer is not None:
            await self._consumer.stop()


class PartitionWriter:
    """Owns one partition from its assignment to its revocation."""

    def __init__(
        self,
        config: PartitionConfig,
        partition: int,
        open_store: Callable[[], StateStore],
        processor: Callable[[], Processor],
        is_caught_up: Callable[[int], bool],
        reached: Callable[[str], None],
    ) -> None:
        self.config, self.partition = config, partition
        self._open_store, self._new_processor = open_store, processor
        self._is_caught_up, self._reached = is_caught_up, reached
        self._inbox: asyncio.Queue[list[Record]] = asyncio.Queue()
        self._side: SideInput | None = None
        self._in_flight = 0
        self._task: asyncio.Task[None] | None = None
        self._producer: AIOKafkaProducer | None = None
        self._store: StateStore | None = None
        self._markers = {config.source: -1, config.side: -1}
        self.restored = 0
        self.commits = 0
        self.ticked_to: int | None = None

    @property
    def pending_batches(self) -> int:
        """Batches taken and not committed yet; the fetch loop holds back above a few."""
        return self._in_flight

    def start(self, on_failure: Callable[[BaseException], None]) -> None:
        """Begin to work; `on_failure` gets the error that ended it."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                on_failure(error)

        self._task = asyncio.create_task(self._run(), name=f"{self.config.source}-{self.partition}")
        self._task.add_done_callback(ended)

    def take(self, records: list[Record]) -> None:
        """Queue one fetched batch; batches are processed in the order in which they are taken."""
        self._in_flight += 1
        self._inbox.put_nowait(records)

    async def stop(self) -> None:
        """End: what runs is aborted, what is queued is left to the next owner."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._side is not None:
            await self._side.stop()
        if self._producer is not None:
            await self._producer.stop()
        if self._store is not None:
            self._store.close()

    # --- life ---

    async def _run(self) -> None:
        self._producer = producer = await self._fence()
        self._reached("fenced")
        self._store = store = self._open_store()
        await self._restore(store)
        self._reached("restored")
        for topic, row in ((self.config.source, MARKER), (self.config.side, SIDE_MARKER)):
            marker = store.get(row)
            self._markers[topic] = int(marker) if marker else -1
        self._side = side = SideInput(
            self.config.bootstrap,
            TopicPartition(self.config.side, self.partition),
            self._markers[self.config.side] + 1,
            lambda: self._inbox.put_nowait([]),
        )
        await side.start()
        processor = self._new_processor()
        while True:
            try:
                async with asyncio.timeout(self.config.tick_seconds):
                    records = await self._inbox.get()
            except TimeoutError:
                records = []
            side.check()
            if records:
                await self._process(producer, store, processor, side, records)
                self._in_flight -= 1
            if self._inbox.empty():
                is_at_end = self._is_caught_up(self.partition)
                if is_at_end and side.waiting:
                    await self._process(producer, store, processor, side, ())
                await self._tick(producer, store, processor, is_at_end and side.is_at_end)

    async def _fence(self) -> AIOKafkaProducer:
        config = self.config
        producer = AIOKafkaProducer(
            bootstrap_servers=config.bootstrap,
            client_id=f"{config.app_id}-{self.partition}",
            transactional_id=f"{config.app_id}-{config.source}-{self.partition}",
            acks="all",
            linger_ms=0,
            retry_backoff_ms=5,
            max_batch_size=KAFKA_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            transaction_timeout_ms=round(config.transaction_timeout_seconds * 1000),
        )
        await producer.start()
        return producer

    async def _restore(self, store: StateStore) -> None:
        changelog = TopicPartition(self.config.changelog, self.partition)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.config.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_partition_fetch_bytes=8 << 20,
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        try:
            consumer.assign([changelog])
            begin = (await consumer.beginning_offsets([changelog]))[changelog]
            end = (await consumer.end_offsets([changelog]))[changelog]
            stored = store.get(POSITION)
            position = int(stored) if stored else 0
            if position > end or 0 < position < begin:
                log.warning(
                    "%s: stored position %d is outside of %d..%d: the state is restored anew",
                    changelog,
                    position,
                    begin,
                    end,
                )
                store.wipe()
                position = 0
            consumer.seek(changelog, max(position, begin))
            while await consumer.position(changelog) < end:
                fetched = await consumer.getmany(changelog, timeout_ms=200)
                rows: dict[bytes, bytes | None] = {row.key: row.value for row in fetched.get(changelog, ())}
                self.restored += len(rows)
                rows[POSITION] = b"%d" % await consumer.position(changelog)
                store.write(rows)
        finally:
            await consumer.stop()

    # --- units of work ---

    async def _process(
        self,
        producer: AIOKafkaProducer,
        store: StateStore,
        processor: Processor,
        side: SideInput,
        records: Sequence[Record],
    ) -> None:
        """Process a batch with what of the side topic goes before it; without records, all that waits there."""
        view, done = View(store), dict[str, int]()
        for record in records:
            if record.offset <= self._markers[record.topic]:
                continue
            moment = processor.moment_of(record)
            await side.known()
            while side.waiting and processor.moment_of(side.waiting[0]) <= moment:
                self._apply(view, processor, side.waiting.popleft(), done)
            self._apply(view, processor, record, done)
            if view.size_bytes > UNIT_BYTES:
                await self._commit(producer, store, view, done)
                view, done = View(store), {}
        while not records and side.waiting:
            self._apply(view, processor, side.waiting.popleft(), done)
        if done:
            await self._commit(producer, store, view, done)

    def _apply(self, view: View, processor: Processor, record: Record, done: dict[str, int]) -> None:
        try:
            processor.on_record(view, record)
        except StoreError:
            raise
        except Exception as error:
            view.drop()
            view.emit(self._dead_letter(record, error))
        view.accept()
        done[record.topic] = record.offset

    def _dead_letter(self, record: Record, error: Exception) -> Output:
        reason = f"{type(error).__name__}: {error}"[:1000]
        log.warning("dead letter %s-%d@%d: %s", record.topic, self.partition, record.offset, reason)
        about = {
            "error": reason,
            "source.topic": record.topic,
            "source.partition": str(self.partition),
            "source.offset": str(record.offset),
            "source.timestamp": str(record.timestamp),
        }
        headers = tuple((name, value.encode("utf-8", "replace")) for name, value in about.items())
        return Output(f"{record.topic}.dlq", record.key, record.value, (*record.headers, *headers))

    async def _tick(
        self, producer: AIOKafkaProducer, store: StateStore, processor: Processor, is_caught_up: bool
    ) -> None:
        moment = processor.tick_moment(is_caught_up)
        if moment is None:
            return
        while True:
            view = View(store)
            has_more = processor.on_tick(view, moment, UNIT_TIMERS)
            view.accept()
            if view.changes or view.outputs:
                await self._commit(producer, store, view, {})
            if not has_more:
                break
        if is_caught_up:
            self.ticked_to = moment

    async def _commit(self, producer: AIOKafkaProducer, store: StateStore, view: View, done: Mapping[str, int]) -> None:
        self._reached("decided")
        changes = dict(view.changes)
        for topic, row in ((self.config.source, MARKER), (self.config.side, SIDE_MARKER)):
            if topic in done:
                changes[row] = b"%d" % done[topic]
        await producer.begin_transaction()
        self._reached("begun")
        sent = await self._send(producer, view.outputs)
        rows = [Output(self.config.changelog, key, value) for key, value in changes.items()]
        logged = await self._send(producer, rows, self.partition)
        for future in sent:
            await future
        ends = [await future for future in logged]
        self._reached("sent")
        if done:
            offsets = {TopicPartition(topic, self.partition): offset + 1 for topic, offset in done.items()}
            await producer.send_offsets_to_transaction(offsets, self.config.group)
            self._reached("offsets-sent")
        await producer.commit_transaction()
        self._reached("committed")
        # The broker gives no offset for a batch that it had already: then the position stays behind, which is safe.
        if ends and ends[-1].offset >= 0:
            changes[POSITION] = b"%d" % (ends[-1].offset + 1)
        store.write(changes)
        self._markers.update(done)
        self.commits += 1
        self._reached("stored")

    async def _send(
        self, producer: AIOKafkaProducer, rows: Sequence[Output], partition: int | None = None
    ) -> list[asyncio.Future[Any]]:
        partitions: Mapping[str, list[int]] = {
            topic: sorted(await producer.partitions_for(topic)) for topic in {row.topic for row in rows}
        }
        futures: list[asyncio.Future[Any]] = []
        batches: dict[tuple[str, int], Any] = {}

        async def flush(target: tuple[str, int]) -> None:
            futures.append(await producer.send_batch(batches.pop(target), target[0], partition=target[1]))

        for row in rows:
            known = partitions[row.topic]
            place = _partitioner(row.key, known, known) if partition is None else partition
            target = (row.topic, place)
            while True:
                batch = batches.setdefault(target, None) or producer.create_batch()
                batches[target] = batch
                if batch.append(key=row.key, value=row.value, timestamp=None, headers=list(row.headers)) is not None:
                    break
                await flush(target)
        for target in list(batches):
            await flush(target)
        return futures
