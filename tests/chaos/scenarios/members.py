"""Workers that join, leave and die while others work."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.feeds import RECENT_STEP_MS, Feed
from tests.chaos.scenario import scenario
from tests.chaos.trial import POLL_SECONDS, Trial, expect
from tests.chaos.worker import READY, Worker

LIVE_MINUTES = 20


@scenario()
async def members_join_leave_die(trial: Trial) -> None:
    """Two and three workers join, leave by SIGTERM and die by SIGKILL under load, in an order that the seed gives."""
    records = await trial.load_mixed(3_000, 60_000)
    alive: list[Worker] = []
    number = 0

    async def join() -> None:
        nonlocal number
        number += 1
        alive.append(await trial.worker(batch_records=10, state_dir=f"{trial.settings.state_dir}-{number}"))

    async def reach(goal: int) -> int:
        """Wait for progress; a worker whose own partitions are done ends, though a dead one's may be left."""
        while (found := await trial.committed()) < goal:
            for worker in [worker for worker in alive if worker.code is not None]:
                expect(worker.code == 0, f"a worker exited with code {worker.code}: {trial.tail()}")
                alive.remove(worker)
            if not alive:
                await join()
            await asyncio.sleep(POLL_SECONDS)
        return found

    await join()
    await join()
    progress, changes = 0, trial.size(4, 30)
    for change in range(changes):
        progress = await reach(min(records, progress + records // (changes + 3)))
        if len(alive) < 3 and (len(alive) < 2 or change == 0 or trial.chance.random() < 0.5):
            await join()
            continue
        worker = alive.pop(trial.chance.randrange(len(alive)))
        if READY in worker.log and trial.chance.random() < 0.5:
            code = await worker.terminate()
            expect(code == 0, f"a worker that was asked to end gave exit code {code}: {trial.tail()}")
        else:
            await worker.kill()
    codes = await asyncio.gather(*(worker.wait() for worker in alive))
    trial.say(f"{number} workers, {changes} changes; the last ones ended with {codes}")
    expect(any(READY in worker.log for worker in trial.workers), f"nothing tells that a worker is ready: {READY}")
    await trial.finish()
    await trial.verify(stores=[path for worker in trial.workers for path in trial.stores(worker.settings)])


@scenario(in_short=False)
async def members_under_live_load(trial: Trial) -> None:
    """Live workers, a producer that goes on: a rolling restart by SIGTERM, and one SIGKILL, cost nothing."""
    parts, count = trial.size(5, 20), trial.size(3_000, 50_000)
    base = time.time_ns() // 10**6 - LIVE_MINUTES * 60_000
    workers: list[Worker] = []

    async def join() -> None:
        folder = f"{trial.settings.state_dir}-{len(trial.workers)}"
        workers.append(await trial.worker(lives=True, batch_records=20, state_dir=folder, tick_seconds=0.2))

    produced = 0
    for part in range(parts):
        feed = Feed("recent", trial.chance.randrange(10**6), count // parts, base + produced * RECENT_STEP_MS)
        await trial.load(feed, until_ms=None)
        produced += feed.count
        if len(workers) < 3:
            await join()
        elif part == parts - 2:
            await workers.pop(0).kill()
        else:
            await trial.until(lambda: READY in workers[0].log, "a worker that is ready")
            code = await workers.pop(0).terminate()
            expect(code == 0, f"a worker that was asked to end gave exit code {code}: {trial.tail()}")
    await trial.reach(produced, *workers)
    await trial.until(lambda: all(READY in worker.log for worker in workers), "workers that are ready")
    codes = await asyncio.gather(*(worker.terminate() for worker in workers))
    expect(set(codes) == {0}, f"the workers ended with {codes}: {trial.tail()}")
    await trial.verify(stores=[path for worker in trial.workers for path in trial.stores(worker.settings)])
