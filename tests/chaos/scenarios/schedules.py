"""Blows that meet: the same unit again, worker and broker together, requests that outlive who sent them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from tests.chaos.feeds import BACKLOG_UNTIL, Feed
from tests.chaos.process import KILLED
from tests.chaos.proxy import END_TRANSACTION, PRODUCE, TRANSACTION_OFFSETS, SlowProxy
from tests.chaos.scenario import scenario
from tests.chaos.trial import PATIENCE_SECONDS, POLL_SECONDS, ChaosError, Trial, expect
from tests.chaos.worker import EXIT_FAILED

OWN: dict[str, Any] = {"batch_records": 10, "instance_id": "worker-1"}
BEFORE_COMMIT = ("decided", "begun", "sent", "offsets-sent")
AT_START = ("fenced", "restored")
FENCED, RESTORED = "partition_fenced", "partition_restored"
"""Events in the log: between the two a partition is restored."""
UNITS_WITHOUT_RECORDS = 4
"""How many units of a worker may have none before that is a fault."""
TRIES = 10
"""A fast machine restores so soon that a kill can miss it."""


@scenario()
async def same_unit_killed_again(trial: Trial) -> None:
    """SIGKILL at every point of one and the same unit, one after the other; nothing of it shows until it is whole."""
    trial.settings = replace(trial.settings, partitions=1)  # of several, another one's unit would come between
    rounds = trial.size(1, 12)
    own: dict[str, Any] = {**OWN, "batch_records": 25}
    parts = iter(range(3 * rounds))
    """One for each unit that is committed: a fast worker has all that is there in one unit."""

    async def load() -> None:
        await trial.load_part(next(parts), 3 * rounds, trial.size(270, 170))

    async def kill_at(point: str) -> None:
        worker = await trial.worker(crash_at=f"{point}:1", **own)
        code = await worker.wait()
        expect(code == KILLED, f"{point}: exit code {code}, must be killed: {trial.tail()}")
        if trial.chance.random() < 0.3:
            trial.wipe()

    async def committed_at(point: str, count: int) -> int:
        """Kill behind a commit until one has records; the first of a worker may have none, as it may only tick.

        The broker shows a commit a moment after it has promised it.
        """
        for _ in range(UNITS_WITHOUT_RECORDS):
            await kill_at(point)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS / UNITS_WITHOUT_RECORDS):
                    return await trial.reach(count)
        raise ChaosError(f"{point}: fewer than {count} records are committed of units that were")

    done = 0
    for _ in range(rounds):
        await load()
        done = await committed_at("stored", done + 1)
        points = [*BEFORE_COMMIT, trial.chance.choice(AT_START), trial.chance.choice(BEFORE_COMMIT)]
        trial.chance.shuffle(points)
        await load()
        for point in points:
            await kill_at(point)
            found = await trial.reach(done)
            expect(found == done, f"{point}: {found} records committed of a unit that was not, {done} before")
        done = await committed_at("committed", done + 1)
        await load()
        done = await committed_at("stored", done + 1)
    await trial.finish(**own)
    await trial.verify()


@scenario(owns_broker=True)
async def worker_and_broker_killed_at_once(trial: Trial) -> None:
    """Worker and broker are killed within milliseconds, in any order; the next worker is there before the broker is."""
    times = trial.size(2, 15)
    for number in range(times):
        await trial.load_part(number, times, trial.size(750, 800))
        worker = await trial.worker(**OWN)
        await trial.advance(worker)
        blows = [worker.kill(), asyncio.to_thread(trial.kafka.kill)]
        trial.chance.shuffle(blows)
        first = asyncio.create_task(blows[0])
        await asyncio.sleep(trial.chance.random() * 0.05)
        await blows[1]
        await first
        if trial.chance.random() < 0.5:
            trial.wipe()
        early = await trial.worker(**OWN)
        await asyncio.sleep(trial.chance.random() * 2)
        await asyncio.to_thread(trial.kafka.restart)
        await asyncio.sleep(trial.chance.random() * 3)
        expect(early.code in (None, 0, EXIT_FAILED), f"a worker without a broker ended with {early.code}")
        await early.kill()
    await trial.finish(**OWN)
    await trial.verify()


@scenario()
async def requests_outlive_their_worker(trial: Trial) -> None:
    """A killed worker's batches, offsets or commits reach the broker when another one is at work: they are refused."""
    kinds = [PRODUCE, TRANSACTION_OFFSETS, END_TRANSACTION]
    trial.chance.shuffle(kinds)
    kinds = kinds * trial.size(1, 5)
    for number, kind in enumerate(kinds):
        await trial.load_part(number, len(kinds), trial.size(700, 1_000))
        async with SlowProxy(trial.kafka.bootstrap, trial.chance) as proxy:
            proxy.hold(kind, after=_before_held(trial, kind, is_new=number == 0))
            dead = await trial.worker(bootstrap=proxy.bootstrap, **OWN)
            await trial.until(partial(_holds_requests, proxy), "a held request")
            await dead.kill()
            other = await trial.worker(**OWN)
            await trial.advance(other, 0.5)
            proxy.release()
            await asyncio.sleep(trial.chance.random())  # what was held goes through while the other one works
            await other.kill()
    await trial.finish(**OWN)
    await trial.verify()


@scenario()
async def zombie_whose_commit_comes_late(trial: Trial) -> None:
    """SIGSTOP with a commit on its way; another takes over; the commit arrives, SIGCONT; then the other is killed."""
    count = trial.size(1_250, 7_500)
    await trial.load_part(0, 2, count)
    async with SlowProxy(trial.kafka.bootstrap, trial.chance) as proxy:
        proxy.hold(END_TRANSACTION, after=_before_held(trial, END_TRANSACTION, is_new=True))
        zombie = await trial.worker(bootstrap=proxy.bootstrap, batch_records=10)
        await trial.until(partial(_holds_requests, proxy), "a held commit")
        zombie.signal(signal.SIGSTOP)
        await trial.load_part(1, 2, count)
        other = await trial.worker(batch_records=10, state_dir=f"{trial.settings.state_dir}-2")
        await trial.advance(other, 0.5)
        blows: list[Callable[[], None]] = [proxy.release, lambda: zombie.signal(signal.SIGCONT)]
        trial.chance.shuffle(blows)
        for blow in blows:
            blow()
            await asyncio.sleep(trial.chance.random() * 0.2)
        await asyncio.sleep(trial.chance.random() * 2)
        await other.kill()
        code = await zombie.wait()
        expect(code in (0, EXIT_FAILED), f"the zombie ended with exit code {code}: {trial.tail()}")
        trial.say(f"the zombie ended with {code}")
    await trial.finish()
    await trial.verify()


@scenario(takes_long=True)
async def killed_while_it_restores(trial: Trial) -> None:
    """SIGKILL in the midst of a restore, again and again: it is carried on, and nothing believed too early."""
    feed = Feed("backlog", trial.chance.randrange(10**6), trial.size(6_000, 100_000))
    await trial.load(feed, until_ms=BACKLOG_UNTIL)
    own: dict[str, Any] = {**OWN, "batch_records": 50, "log_format": "json"}
    worker = await trial.worker(**own)
    await trial.reach(feed.count * 3 // 4, worker)
    await worker.kill()
    trial.wipe()
    in_restore, kills, least = 0, 0, trial.size(4, 40)
    while kills < least or (not in_restore and kills < TRIES * least):
        worker = await trial.worker(**own)
        while FENCED not in worker.log and worker.code is None:
            await asyncio.sleep(POLL_SECONDS / 3)
        await asyncio.sleep(trial.chance.random() * trial.size(5, 30) / 100)
        await worker.kill()
        kills += 1
        in_restore += FENCED in worker.log and worker.log.count(RESTORED) < trial.settings.partitions
        if not in_restore or trial.chance.random() < 0.25:
            trial.wipe()
    trial.say(f"{in_restore} of {kills} kills were in the midst of a restore")
    expect(in_restore > 0, "no kill came in the midst of a restore")
    await trial.finish(**own)
    await trial.verify()


def _before_held(trial: Trial, kind: int, *, is_new: bool) -> int:
    """How many requests of a kind to let through: fewer than come, as each partition has a unit at least.

    Where the changelog `is_new`, each begins it with a transaction without offsets.
    """
    partitions = trial.settings.partitions
    at_start = partitions if is_new and kind != TRANSACTION_OFFSETS else 0
    return at_start + trial.chance.randrange(partitions)


def _holds_requests(proxy: SlowProxy) -> bool:
    return proxy.held_requests > 0
