"""What a service does now, as its topics and its group tell: rates, lag, signs of life, workers, servers by stage."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Self

from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from streams.clock import wall_clock_ms
from streams.domain.outputs.progress import PartitionProgress
from streams.kafka.cluster import Admin, Consumer
from streams.kafka.follower import KafkaLog, TopicFollower
from streams.kafka.reader import open_consumer, partitions_of
from streams.kafka.security import cluster_of
from streams.kafka.shutdown import cancel_and_wait
from streams.kafka.table import CompactedTable
from streams.kafka.topics import TOPICS
from streams.kafka.unread import UnreadBatch
from streams.operations.group import committed_offsets, describe_members
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.progress import progress_of
from streams.wire.registry import registry_of

RATE_SECONDS: Final = 5.0
"""Over how long a rate is taken."""


@dataclass(frozen=True, slots=True)
class PartitionActivity:
    """An input partition.

    `lag` counts connections that no worker has committed; `per_second` is how many are. `sign` is the last sign of
    life, None where there was none; `sign_age_seconds` is by the clock of this process.
    """

    partition: int
    lag: int
    per_second: float | None
    worker: str | None
    sign: PartitionProgress | None
    sign_age_seconds: float | None


@dataclass(frozen=True, slots=True)
class WorkerActivity:
    """A member of the group: its name, its host and its partitions."""

    name: str
    host: str
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Activity:
    """A service at one moment (UTC milliseconds). Rates are None until two moments are known.

    `stages` has the number of servers by stage, `is_complete` once all of them are read.
    """

    at: int
    connections_per_second: float | None
    processed_per_second: float | None
    verdicts_per_second: float | None
    lag: int
    partitions: tuple[PartitionActivity, ...]
    workers: tuple[WorkerActivity, ...]
    stages: Mapping[int, int]
    statuses: Mapping[str, int]
    is_complete: bool


class Rate:
    """How fast a count grows, over the last seconds."""

    def __init__(self, seconds: float = RATE_SECONDS) -> None:
        self._seconds = seconds
        self._points: deque[tuple[float, int]] = deque()

    def add(self, at: float, count: int) -> float | None:
        """Note a count at a moment (seconds); returns the rate per second, None for the first one."""
        self._points.append((at, count))
        while len(self._points) > 2 and self._points[1][0] <= at - self._seconds:
            self._points.popleft()
        begun_at, before = self._points[0]
        return max(0, count - before) / (at - begun_at) if at > begun_at else None


@dataclass(slots=True)
class ServerCounts:
    """The servers of the report topic, counted by stage and status as rows change."""

    stages: Counter[int] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    _known: dict[bytes, tuple[int, str]] = field(default_factory=dict)

    def write(self, changes: Mapping[bytes, tuple[int, str] | None]) -> None:
        """Take changed rows in, None for one that is gone."""
        for key, row in changes.items():
            for known, by in ((self._known.pop(key, None), -1), (row, 1)):
                if known is not None:
                    self.stages[known[0]] += by
                    self.statuses[known[1]] += by
            if row is not None:
                self._known[key] = row


class ActivityWatch:
    """Watches a service; used as a context manager."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch the service of some settings; `clock` returns seconds."""
        self._settings, self._clock = settings, clock
        cluster, registry = cluster_of(settings), registry_of(settings)
        report, sign = AvroCodec("server_report", registry), AvroCodec("partition_progress", registry)

        def row_of(value: bytes) -> tuple[int, str]:
            row = report.decode(value)
            return row["stage"], row["status"]

        def log_of(name: str, *, from_end: bool = False) -> KafkaLog:
            return KafkaLog(cluster, [settings.topic(TOPICS[name])], from_end=from_end)

        self._cluster = cluster
        self._servers = ServerCounts()
        self._server_table = CompactedTable(
            log_of("server_report"), row_of, write=self._servers.write, on_undecodable=_ignore
        )
        self._signs = CompactedTable(
            log_of("partition_progress"), lambda value: progress_of(sign.decode(value)), on_undecodable=_ignore
        )
        self._verdicts = TopicFollower(log_of("verdict", from_end=True))
        self._verdict_count = 0
        self._rates: dict[object, Rate] = {}
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._begins: Mapping[TopicPartition, int] = {}
        self._admin: Admin | None = None
        self._consumer: Consumer | None = None
        self._is_complete = False

    async def __aenter__(self) -> Self:
        """Connect; servers are counted meanwhile.

        Raises:
            TopicError: a topic does not exist.
            KafkaError: the cluster does not answer, or does not let this client see what it needs.
        """
        async with AsyncExitStack() as stack:
            source = self._settings.topic(TOPICS["inbound_connection"])
            self._admin = await stack.enter_async_context(self._cluster.opened_admin())
            partitions = (await partitions_of(self._cluster, source))[source]
            self._consumer = open_consumer(self._cluster)
            stack.push_async_callback(self._consumer.stop)
            await self._consumer.start()
            self._consumer.assign(partitions)
            self._begins = await self._consumer.beginning_offsets(partitions)
            await stack.enter_async_context(self._signs)
            await self._verdicts.start()
            stack.push_async_callback(self._verdicts.stop)
            stack.push_async_callback(self._end_tasks)
            for work in (self._count_servers, self._follow_signs, self._count_verdicts):
                self._tasks.append(asyncio.create_task(work()))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def wait_for_servers(self) -> None:
        """Wait until every server is counted.

        Raises:
            TopicError, KafkaError: the topic cannot be read.
        """
        while not self._is_complete:
            self._raise_failure()
            await asyncio.wait(self._tasks, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)

    async def look(self) -> Activity:
        """What the service does now.

        Raises:
            KafkaError: the cluster does not answer.
            TopicError: a topic is gone.
        """
        self._raise_failure()
        consumer, admin = self._consumer, self._admin
        if consumer is None or admin is None:
            raise RuntimeError("not started")
        members = map(_worker_of, await describe_members(admin, self._settings.app_id))
        workers = tuple(sorted(members, key=lambda worker: (worker.partitions, worker.name)))
        owners = {number: worker.name for worker in workers for number in worker.partitions}
        ends = await consumer.end_offsets(list(self._begins))
        committed = await committed_offsets(admin, self._settings.app_id)
        now, at = self._clock(), wall_clock_ms()
        signs = {row.partition: row for row in self._signs.rows.values() if row.app_id == self._settings.app_id}
        partitions = []
        for where, end in sorted(ends.items()):
            done = committed.get(where, self._begins[where])
            sign = signs.get(where.partition)
            partitions.append(
                PartitionActivity(
                    where.partition,
                    max(0, end - done),
                    self._rate(where.partition, now, done),
                    owners.get(where.partition),
                    sign,
                    None if sign is None else max(0.0, (at - sign.wall_clock) / 1000),
                )
            )
        return Activity(
            at,
            self._rate("connections", now, sum(ends.values())),
            self._rate("processed", now, sum(committed.get(where, 0) for where in ends)),
            self._rate("verdicts", now, self._verdict_count),
            sum(item.lag for item in partitions),
            tuple(partitions),
            workers,
            {stage: count for stage, count in sorted(self._servers.stages.items()) if count},
            {status: count for status, count in sorted(self._servers.statuses.items()) if count},
            self._is_complete,
        )

    def _rate(self, name: object, now: float, count: int) -> float | None:
        return self._rates.setdefault(name, Rate()).add(now, count)

    async def _count_servers(self) -> None:
        async with self._server_table:
            self._is_complete = True
            while True:
                await self._server_table.poll()

    async def _follow_signs(self) -> None:
        while True:
            await self._signs.poll()

    async def _count_verdicts(self) -> None:
        while True:
            found = await self._verdicts.poll()
            self._verdict_count += sum(not isinstance(record, UnreadBatch) for record in found)

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            await cancel_and_wait(task)

    def _raise_failure(self) -> None:
        for task in self._tasks:
            if task.done() and (error := task.exception()) is not None:
                raise error


def _ignore(_: Any, __: ValueError) -> None:
    """Pass over a record that is none of its topic."""


def _worker_of(member: Mapping[str, Any]) -> WorkerActivity:
    """A member; who has no assignment yet has no partitions."""
    raw = member["member_assignment"]
    assigned = ConsumerProtocolMemberAssignment.decode(raw).partitions() if raw else []
    name = member.get("group_instance_id") or member["member_id"].rsplit("-", 5)[-1] or member["client_id"]
    return WorkerActivity(name, member["client_host"].lstrip("/"), tuple(sorted(where.partition for where in assigned)))
