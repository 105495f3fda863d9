"""Kafka that hangs, refuses and returns: nothing of it costs an event or stops sync.

With TES_TEST_OUTAGE_SECONDS, such as 3600, each outage takes so long.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.edge.store.verdicts import VerdictReader
from streams.kafka.provisioning import create_topics
from streams.settings.worker import Settings
from tests.support.edge_sync import (
    connection_event,
    event_ids,
    give_signs,
    key_of,
    now_ms,
    polled,
    produce,
    running,
    server_key,
    spool_in,
    sync_of,
    until,
    verdict_value,
)

OUTAGE_SECONDS = float(os.environ.get("TES_TEST_OUTAGE_SECONDS", "8"))


def test_a_broker_that_hangs_refuses_and_returns(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path / "kafka", jars_dir=ensure_jars()) as kafka:
        asyncio.run(suffer(kafka, tmp_path / "edge"))


async def suffer(kafka: EmbeddedKafka, folder: Path) -> None:
    settings = Settings(bootstrap=kafka.bootstrap, partitions=3)
    await create_topics(settings)
    await produce(settings, "verdict", {key_of(1): verdict_value(1)})
    await give_signs(settings)
    spool, reader = spool_in(folder), VerdictReader(folder)
    numbers = iter(range(1000))

    def append() -> None:
        assert spool.append(connection_event(next(numbers), f"tenant-{next(numbers) % 7}"), b"client")

    async with running(sync_of(settings, folder)) as sync:
        append()
        await until(lambda: spool.waiting() == (0, 0) and polled(reader).knowledge.confirmed_at is not None)
        tasks = len(asyncio.all_tasks())

        os.kill(kafka.pid, signal.SIGSTOP)
        stopped_at = now_ms()
        append()
        await until(lambda: len(sync.status().failures) == 4)
        for _ in range(20):
            await asyncio.sleep(OUTAGE_SECONDS / 20)
            append()
        assert polled(reader).find(server_key(1)) is not None
        assert (reader.knowledge.confirmed_at or 0) <= stopped_at + 1000
        assert reader.sync_alive_at is not None
        assert reader.sync_alive_at > stopped_at
        assert spool.waiting()[0] == 21
        assert len(asyncio.all_tasks()) < tasks + 40
        os.kill(kafka.pid, signal.SIGCONT)
        await give_signs(settings)
        await until(lambda: spool.waiting() == (0, 0) and not sync.status().failures)
        await until(lambda: (polled(reader).knowledge.confirmed_at or 0) > stopped_at)

        kafka.stop()
        append()
        await until(lambda: len(sync.status().failures) == 4)
        await asyncio.sleep(OUTAGE_SECONDS)
        append()
        kafka.start()
        await produce(settings, "verdict", {key_of(2): verdict_value(2)})
        await until(lambda: spool.waiting() == (0, 0) and polled(reader).find(server_key(2)) is not None)
        await until(lambda: not sync.status().failures)
    # What Kafka had taken without saying so comes twice, with the same id.
    assert set(Counter(await event_ids(settings))) == {f"event-{number}" for number in range(0, next(numbers), 2)}
