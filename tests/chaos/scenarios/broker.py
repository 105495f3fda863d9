"""A broker that stops, dies, stays away, is slow, or has no room."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from tests.chaos.disk import SmallDisk
from tests.chaos.feeds import FLOOD_PER_MS, Feed
from tests.chaos.process import KILLED
from tests.chaos.proxy import PRODUCE, SlowProxy
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial, expect
from tests.chaos.worker import EXIT_FAILED, Worker

BROKER_DISK_BYTES = 192 << 20
LIVE_MS = 3 * 60_000
"""The first connection of a live feed is so old; no timer of its servers is due within the hour."""
FLAT_BYTES = 24 << 20
"""What a heap may grow by from what comes and goes; a queue without a bound would hold the whole feed instead."""
HELD_SECONDS = 3_600.0
"""Longer than an output is held on any machine."""


async def _away(trial: Trial, how: str, seconds: float, times: int) -> None:
    for number in range(times):
        await trial.load_part(number, times, trial.size(1_500, 24_000) // times)
        worker = await trial.worker(batch_records=10)
        await trial.advance(worker, 0.5)
        await asyncio.to_thread(getattr(trial.kafka, how))
        await asyncio.sleep(seconds)
        await asyncio.to_thread(trial.kafka.restart)
        code = await worker.wait()
        trial.say(f"the worker ended with {code}")
        expect(code in (0, EXIT_FAILED), f"the worker ended with exit code {code}: {trial.tail()}")
    await trial.finish()
    await trial.verify()


@scenario(owns_broker=True, in_short=False)
async def broker_sigterm(trial: Trial) -> None:
    """The broker is stopped in order under load and started again: the worker waits, or ends with 70 and restarts."""
    await _away(trial, "stop", trial.chance.random(), trial.size(1, 4))


@scenario(owns_broker=True, in_short=False)
async def broker_sigkill(trial: Trial) -> None:
    """The broker is killed under load and started again."""
    await _away(trial, "kill", trial.chance.random() * 3, trial.size(2, 6))


@scenario(owns_broker=True, in_short=False)
async def broker_absent(trial: Trial) -> None:
    """The broker stays away for a minute (12 s in the short form), longer than the session time-out."""
    await _away(trial, "kill", trial.size(12, 60), 1)


@scenario(owns_broker=True, in_short=False)
async def coordinator_lost_in_open_transaction(trial: Trial) -> None:
    """The only broker, and with it both coordinators, dies while a transaction of a killed worker is open."""
    own: dict[str, Any] = {"batch_records": 5, "instance_id": "worker-1"}
    points = trial.chance.sample(["begun", "sent", "offsets-sent"], trial.size(1, 3))
    for number, point in enumerate(points):
        await trial.load_part(number, len(points), trial.size(1_200, 4_000))
        worker = await trial.worker(crash_at=f"{point}:{trial.chance.randint(1, 3)}", **own)
        code = await worker.wait()
        expect(code == KILLED, f"{point}: exit code {code}, must be killed: {trial.tail()}")
        await asyncio.to_thread(trial.kafka.kill)
        await asyncio.to_thread(trial.kafka.restart)
    await trial.finish(**own)
    await trial.verify()


@scenario(owns_broker=True, in_short=False)
async def coordinator_lost_under_frozen_worker(trial: Trial) -> None:
    """The broker is restarted while a worker stands still in the midst of its transactions, and then goes on."""
    records = await trial.load_mixed(4_000, 12_000)
    worker = await trial.worker(batch_records=5)
    await trial.reach(trial.chance.randint(1, records // 2), worker)
    worker.signal(signal.SIGSTOP)
    await asyncio.to_thread(trial.kafka.kill)
    await asyncio.to_thread(trial.kafka.restart)
    worker.signal(signal.SIGCONT)
    code = await worker.wait()
    expect(code in (0, EXIT_FAILED), f"the worker ended with exit code {code}: {trial.tail()}")
    await trial.finish()
    await trial.verify()


@scenario(in_short=False)
async def slow_broker(trial: Trial) -> None:
    """Every answer of the broker comes up to 100 ms late, then one second late, then at once again."""
    records = await trial.load_mixed(1_500, 20_000)
    async with SlowProxy(trial.kafka.bootstrap, trial.chance, 0.1) as proxy:
        worker = await trial.worker(bootstrap=proxy.bootstrap, batch_records=50)
        await trial.reach(records // 4, worker)
        proxy.delay_seconds = 1.0
        await asyncio.sleep(trial.size(8, 60))
        proxy.delay_seconds = 0.0
        code = await worker.wait()
        expect(code == 0, f"a slow broker ended the worker with exit code {code}: {trial.tail()}")
        expect(proxy.answers > 100, f"only {proxy.answers} answers came through the proxy")
    await trial.verify()


@scenario(takes_long=True)
async def dead_output(trial: Trial) -> None:
    """The broker takes no output while input goes on: the heap stays flat, and what waited is written once later."""
    begun = time.time_ns() // 10**6 - LIVE_MS
    first = Feed("flood", trial.chance.randrange(10**6), trial.size(40_000, 300_000), begun)
    await trial.load(first, until_ms=None)
    async with SlowProxy(trial.kafka.bootstrap, trial.chance) as proxy:
        # How long the output is held depends on the machine: a worker may not be ended for it.
        worker = await trial.worker(bootstrap=proxy.bootstrap, batch_records=500, stall_seconds=HELD_SECONDS)
        await trial.reach(first.count, worker)
        proxy.hold(PRODUCE)
        before = max(worker.rss)
        held = len(worker.rss)
        after = Feed("flood", first.seed + 1, trial.size(40_000, 700_000), begun + first.count // FLOOD_PER_MS)
        await trial.load(after, until_ms=None)  # behind the hold, or a fast worker would have nothing left to write
        await trial.until(lambda: proxy.held_requests > 0, "a held output")
        await asyncio.sleep(trial.size(10, 30))
        expect(worker.code is None, f"a dead output ended the worker with {worker.code}: {trial.tail()}")
        grown = max(worker.rss[held:]) - before
        trial.say(f"the worker grew by {grown >> 20} MiB while nothing could be written, at {before >> 20} MiB")
        expect(grown < FLAT_BYTES, f"the worker grew by {grown >> 20} MiB while nothing could be written")
        proxy.release()
        await trial.work_off(worker)
    await trial.verify()


@scenario(in_short=False)
async def broker_disk_full(trial: Trial) -> None:
    """The broker's disk fills up: the worker ends with 70 or waits; with room again, and restarts, nothing is lost."""
    with SmallDisk(trial.folder / "broker-disk", BROKER_DISK_BYTES) as disk:
        kafka = EmbeddedKafka(Path(disk.folder) / "kafka", jars_dir=ensure_jars())
        await asyncio.to_thread(kafka.start)
        try:
            trial.kafka, trial.settings = kafka, replace(trial.settings, bootstrap=kafka.bootstrap)
            records = await trial.load_mixed(2_000, 10_000)
            worker = await trial.worker(batch_records=10)
            await trial.reach(records // 4, worker)
            trial.say(f"{disk.fill() >> 20} MiB filled")
            await _until_it_hurts(trial, worker)
            disk.free()
            await asyncio.to_thread(kafka.restart)
            await worker.wait()
            expect(worker.code in (0, EXIT_FAILED), f"the worker ended with {worker.code}: {trial.tail()}")
            await trial.finish()
            await trial.verify()
        finally:
            await asyncio.to_thread(kafka.stop)


async def _until_it_hurts(trial: Trial, worker: Worker) -> None:
    """Until the worker has ended, or nothing is committed any more for a while."""
    last, since = -1, 0
    while worker.code is None and since < 5:
        found = await trial.committed()
        last, since = found, since + 1 if found == last else 0
        await asyncio.sleep(1)
    trial.say(f"the worker {'stands' if worker.code is None else f'ended with {worker.code}'}")
