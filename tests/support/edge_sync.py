"""Sync on a real cluster, and records for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streams.domain.keys import ServerKey
from streams.domain.policy.policy import ConnectorType
from streams.domain.server.connection import InboundConnection
from streams.edge.ports import SpooledEvent
from streams.edge.store.spool import SpoolWriter
from streams.edge.store.verdicts import VerdictReader
from streams.edge.sync.app import Sync
from streams.edge.sync.timing import Timing
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.records import to_record
from streams.wire.registry import LocalRegistry
from tests.support.edge_files import BLOCK, THROTTLE

SOON = Timing(
    answer=3.0, stall=3.0, delivery=3.0, look=0.5, linger=0.05, rest=1.0, tick=0.1, first_retry=0.1, last_retry=0.5
)
WAIT_SECONDS = 60.0


def codec_of(name: str) -> AvroCodec:
    return AvroCodec(name, LocalRegistry())


def verdict_value(number: int, revision: int = 1, **changes: Any) -> bytes:
    """A verdict that throttles, as `edge_files.verdict_of` has it on disk but for its schedule."""
    record = {
        "verdict_id": f"{number}-{revision}",
        "revision": revision,
        "tenant_id": "contoso",
        "server": f"mail{number}.contoso.example",
        "identity": "STAMP",
        "action": "THROTTLE",
        "stage": 2,
        "throttle_minutes_per_hour": 10,
        "block_minutes_per_hour": 0,
        "finding": "OUT_OF_DATE",
        "reason": "",
        "required_build": "15.1.2507.44",
        "cves": [],
        "effective_at": 1,
        "schedule": [],
        "smtp_template_throttle": THROTTLE,
        "smtp_template_block": BLOCK,
        "policy_id": "p",
        "policy_version": 1,
        "issued_at": 1,
    }
    return codec_of("verdict").encode(record | changes)


def key_of(number: int) -> bytes:
    return f"contoso/mail{number}.contoso.example".encode()


def server_key(number: int) -> ServerKey:
    return ServerKey.parse(key_of(number))


def sign_value(partition: int, wall_clock: int) -> bytes:
    """A worker's sign of life."""
    record = {"partition": partition, "wall_clock": wall_clock, "policy_id": "p", "policy_version": 1}
    return codec_of("partition_progress").encode({**record, "worker_version": "1"})


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def connection_event(number: int, tenant_id: str = "contoso", *, size: int = 0) -> SpooledEvent:
    """An event as the door stores it."""
    connection = InboundConnection(
        f"event-{number}",
        now_ms(),
        tenant_id,
        "c1",
        ConnectorType.ON_PREMISES,
        "192.0.2.1",
        "mail.contoso.example",
        ("x" * size,),
    )
    body = codec_of("inbound_connection").encode(to_record(connection))
    return SpooledEvent(tenant_id, connection.event_id, True, body)


def topic_of(settings: Settings, name: str) -> str:
    return settings.topic(TOPICS[name])


async def produce(settings: Settings, name: str, rows: Mapping[bytes, bytes | None], partition: int = 0) -> None:
    """Write records to a partition, without a transaction."""
    producer = cluster_of(settings).producer(acks="all")
    await producer.start()
    try:
        for key, value in rows.items():
            await producer.send_and_wait(topic_of(settings, name), value, key=key, partition=partition)
    finally:
        await producer.stop()


async def give_signs(settings: Settings, wall_clock: int | None = None) -> None:
    """A sign of life from the worker of each partition."""
    moment = wall_clock or now_ms()
    rows = {b"%d" % number: sign_value(number, moment) for number in range(settings.partitions)}
    await produce(settings, "partition_progress", dict(rows))


def sync_of(settings: Settings, folder: Path, timing: Timing = SOON) -> Sync:
    return Sync(cluster_of(settings), LocalRegistry(), folder, topic=settings.topic, timing=timing)


@asynccontextmanager
async def running(sync: Sync) -> AsyncIterator[Sync]:
    """Run sync meanwhile; it ends within its deadlines."""
    task = asyncio.create_task(sync.run())
    try:
        yield sync
        assert not task.done(), task
    finally:
        task.cancel()
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold"
        await asyncio.sleep(0.05)


def polled(reader: VerdictReader) -> VerdictReader:
    reader.poll()
    return reader


async def event_ids(settings: Settings) -> list[str]:
    """The ids of the connections on their topic."""
    codec = codec_of("inbound_connection")
    found = read_settled(cluster_of(settings), topic_of(settings, "inbound_connection"))
    return [codec.decode(record.value)["event_id"] async for record in found]


def spool_in(folder: Path) -> SpoolWriter:
    return SpoolWriter(folder, 1 << 30)
