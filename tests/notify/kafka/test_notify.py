"""`tes notify` on a real Kafka: killed anywhere it loses no notification and reads none twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from streams.clock import wall_clock_ms
from streams.database.database import Database
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.notices.opening import open_ledger
from streams.notices.tables import DELIVERY, DESTINATION, NOTICE, UNREADABLE
from streams.settings.database import DatabaseSettings
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry
from tests.support.edge_sync import produce
from tests.support.notices import encoded, notification, rows_of
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.worker_results import SIGKILLED

POINTS = ("fetched", "recorded", "committed")
SECONDS = 90.0


def variables_of(settings: Settings, ledger: DatabaseSettings, **others: str) -> dict[str, str]:
    own = {name: value for name, value in ledger.environment().items() if name.startswith("TES_REPORT_")}
    kafka = {"TES_KAFKA_BOOTSTRAP": settings.bootstrap, "TES_TOPIC_PREFIX": settings.topic_prefix}
    return {**own, **kafka, "TES_NOTIFY_PORT": str(free_port()), **others}


async def write(settings: Settings, numbers: Sequence[int], *values: bytes) -> None:
    """Write notifications of two tenants, and values that are none."""
    now = wall_clock_ms()
    producer = cluster_of(settings).producer(acks="all")
    await producer.start()
    try:
        for number in numbers:
            tenant = f"t{number % 2}"
            record = notification(number, tenant_id=tenant, occurred_at=now + number)
            topic = settings.topic(TOPICS["admin_notification"])
            await producer.send_and_wait(topic, encoded(record), key=tenant.encode(), partition=0)
        for value in values:
            await producer.send_and_wait(topic, value, key=b"t0", partition=0)
    finally:
        await producer.stop()


async def publish_contacts(settings: Settings) -> None:
    codec = AvroCodec("connector", LocalRegistry())
    record = {
        "tenant_id": "t0",
        "connector_id": "c1",
        "type": "ON_PREMISES",
        "published_at": 1,
        "published_by": "test",
        "contacts": ["admin@t0.example", "no address"],
    }
    await produce(settings, "connector", {b"t0/c1": codec.encode(record)})


def until(database: Database, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert is_so()


@pytest.mark.timeout(240)
def test_killed_at_every_step_it_loses_nothing_and_doubles_nothing(
    settings: Settings, ledger_settings: DatabaseSettings, tmp_path: Path
) -> None:
    asyncio.run(create_topics(settings))
    asyncio.run(publish_contacts(settings))
    database = open_ledger(ledger_settings)
    database.migrate()
    # What was written before the ledger began is told to nobody.
    asyncio.run(write(settings, [0, 1]))
    written = 2
    for point in POINTS:
        variables = variables_of(settings, ledger_settings, TES_NOTIFY_CRASH_AT=point)
        process = Process(tmp_path / f"{point}.log", variables, "notify")
        assert process.ended() == SIGKILLED, process.log
        asyncio.run(write(settings, [written, written + 1]))
        written += 2
    variables = variables_of(settings, ledger_settings)
    process = Process(tmp_path / "last.log", variables, "notify")
    process.until_ready(int(variables["TES_NOTIFY_PORT"]))
    asyncio.run(write(settings, [written, written + 1], b"\x07"))
    until(database, lambda: len(rows_of(database, UNREADABLE)) == 1)
    found = [row["notification_id"] for row in rows_of(database, NOTICE)]
    assert sorted(found) == sorted(f"n{number}" for number in range(written + 2))
    assert [row["address"] for row in rows_of(database, DESTINATION)] == ["admin@t0.example"]
    told = {row["notification_id"] for row in rows_of(database, DELIVERY)}
    assert f"n{written}" in told
    assert "n0" not in told
    assert process.end() == 0, process.log
    database.close()
