"""A wall clock that jumps under a live worker."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.domain.time import DAY_MS, HOUR_MS
from streams.domain.validation import MAX_AHEAD_MS
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from tests.chaos.disk import CannotBeDoneError
from tests.chaos.feeds import RECENT_STEP_MS, Feed
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial, expect
from tests.chaos.worker import Worker

REPOSITORY = Path(__file__).parents[3]
PLACES = (Path("/"), REPOSITORY / ".cache/debian/libfaketime")
LIBRARIES = ("usr/lib/*/faketime/libfaketimeMT.so.1", "usr/lib/faketime/libfaketimeMT.so.1")
COUNT = 400
CACHE_SECONDS = 1
"""The library looks at its file no more often; each look costs as much as a record."""


class Clock:
    """The wall clock of a worker, which follows a file; its monotonic clock stays as it is."""

    def __init__(self, folder: Path) -> None:
        found = [str(path) for place in PLACES for pattern in LIBRARIES for path in place.glob(pattern)]
        if not found:
            raise CannotBeDoneError(
                "libfaketime moves the clock of a worker and is neither here nor to be had: apt-get install libfaketime"
            )
        self._file = folder / "clock"
        self.environment = {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(CACHE_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.move(0)

    def move(self, seconds: int) -> None:
        """Let the worker's clock differ from the machine's by so much."""
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(f"{seconds:+d}s\n")
        unfinished.replace(self._file)


async def _worker(trial: Trial, clock: Clock) -> Worker:
    return await trial.worker(clock.environment, lives=True, tick_seconds=0.2, batch_records=20, instance_id="worker-1")


async def _load(trial: Trial, base_ms: int, number: int, **step: int) -> int:
    feed = Feed("recent", trial.chance.randrange(10**6), COUNT, base_ms + number * COUNT * RECENT_STEP_MS)
    settings: dict[str, Any] = {"until_ms": None, **step}
    await trial.load(feed, **settings)
    return COUNT * (number + 1)


@scenario()
async def clock_jumps_forward(trial: Trial) -> None:
    """The clock jumps 40 days ahead and back: timers fire once, with their due moments, and no stage goes back."""
    clock, now = Clock(trial.folder), time.time_ns() // 10**6
    base = now - 20 * 60_000
    await _keep_history(trial)
    done = await _load(trial, base, 0, until_ms=now + 40 * DAY_MS)
    worker = await _worker(trial, clock)
    await trial.reach(done, worker)
    clock.move(40 * 86_400)
    await _until_fired(trial, worker, now + 40 * DAY_MS)
    clock.move(0)
    # What comes before the worker's clock is back would be judged 40 days ahead, rightly.
    await asyncio.sleep(3 * CACHE_SECONDS)
    done = await _load(trial, base, 1)
    await trial.reach(done, worker)
    await _end(trial, worker)


@scenario(in_short=False)
async def clock_jumps_back(trial: Trial) -> None:
    """The clock jumps an hour back: what seems to be ahead of it is a dead letter, whole; put right, all goes on."""
    clock, now = Clock(trial.folder), time.time_ns() // 10**6
    base = now - 20 * 60_000
    done = await _load(trial, base, 0)
    worker = await _worker(trial, clock)
    await trial.reach(done, worker)
    clock.move(-3600)
    await asyncio.sleep(3 * CACHE_SECONDS)
    await trial.reach(await _load(trial, base, 1, ahead_of_ms=now - HOUR_MS + MAX_AHEAD_MS), worker)
    clock.move(0)
    await asyncio.sleep(3 * CACHE_SECONDS)
    await trial.reach(await _load(trial, base, 2), worker)
    await _end(trial, worker)


async def _keep_history(trial: Trial) -> None:
    """Let the broker compact no outputs: records that are dated weeks ahead end a segment, and it may clean it then."""
    await create_topics(trial.settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=trial.kafka.bootstrap)
    await admin.start()
    try:
        for name in ("verdict", "server_report"):
            topic, config = trial.settings.topic(TOPICS[name]), {"cleanup.policy": "delete"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=config)])
    finally:
        await admin.close()


async def _until_fired(trial: Trial, worker: Worker, moment_ms: int) -> None:
    """Until no timer in the changelog is due at a moment."""
    while True:
        expect(worker.code is None, f"the jump ended the worker with {worker.code}: {trial.tail()}")
        rows: dict[bytes, bytes | None] = {}
        async for record in read_settled(cluster_of(trial.settings), trial.settings.changelog):
            rows[record.key] = record.value
        due = [
            int.from_bytes(key[2:10], "big") for key, value in rows.items() if key[:2] == b"d/" and value is not None
        ]
        if due and min(due) > moment_ms:
            return
        await asyncio.sleep(0.5)


async def _end(trial: Trial, worker: Worker) -> None:
    code = await worker.terminate()
    expect(code == 0, f"the worker ended with exit code {code}: {trial.tail()}")
    await trial.verify()
