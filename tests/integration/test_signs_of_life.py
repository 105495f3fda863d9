"""Live workers' signs of life on a real Kafka."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace

import pytest

from streams.domain.outputs.progress import PartitionProgress
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import produce_feed, start_worker
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.progress import progress_of
from streams.wire.registry import LocalRegistry
from tests.support.live import line, now_ms
from tests.support.waiting import until_true

LOG_APPEND_TIME = 1
CODEC = AvroCodec("partition_progress", LocalRegistry())


async def signs(settings: Settings) -> dict[bytes, list[PartitionProgress]]:
    """The committed signs by their keys; each has the broker's time."""
    found: dict[bytes, list[PartitionProgress]] = {}
    async for record in read_settled(cluster_of(settings), settings.topic(TOPICS["partition_progress"])):
        assert record.timestamp_type == LOG_APPEND_TIME
        sign = progress_of(CODEC.decode(record.value))
        assert abs(record.timestamp - sign.wall_clock) < 60_000
        found.setdefault(record.key, []).append(sign)
    return found


@pytest.mark.timeout(200)
def test_every_partition_gives_signs_from_the_start_on_and_when_idle(settings: Settings) -> None:
    began = now_ms()

    async def scenario() -> None:
        await create_topics(settings)
        worker = await start_worker(settings, None)
        try:

            async def has_all() -> bool:
                return len(await signs(settings)) == settings.partitions

            await until_true(has_all)
            await produce_feed(settings, [line(server, now_ms()) for server in range(30)])

            async def have_come_again() -> bool:
                return all(len(rows) > 1 for rows in (await signs(settings)).values())

            await until_true(have_come_again, 120)
        finally:
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0

    asyncio.run(scenario())
    found = asyncio.run(signs(settings))
    assert found.keys() == {b"%d" % number for number in range(settings.partitions)}
    assert any((rows[-1].stream_time or 0) >= began for rows in found.values())
    for key, rows in found.items():
        assert {row.partition for row in rows} == {int(key)}
        assert {row.app_id for row in rows} == {settings.app_id}
        assert [row.wall_clock for row in rows] == sorted(row.wall_clock for row in rows)


@pytest.mark.timeout(120)
def test_a_replay_gives_no_sign(settings: Settings) -> None:
    async def scenario() -> None:
        await create_topics(settings)
        worker = await start_worker(replace(settings, state_dir=f"{settings.state_dir}-replay"), now_ms())
        assert await worker.wait() == 0

    asyncio.run(scenario())
    assert not asyncio.run(signs(settings))
