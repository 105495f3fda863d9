"""What comes in: more bad records than good ones, and more of it than was ever worked off at once."""

from __future__ import annotations

import time
from dataclasses import replace

from streams.domain.time import HOUR_MS
from streams.kafka.provisioning import create_topics
from streams.settings.worker import Settings
from tests.chaos.disk import CannotBeDoneError
from tests.chaos.feeds import BACKLOG_UNTIL, FLOOD_PER_MS, Feed
from tests.chaos.scenario import scenario
from tests.chaos.static_members import Service
from tests.chaos.trial import ChaosError, Trial, expect

FLAT_SHARE = 1.1
FLAT_BYTES = 32 << 20
"""Memory may move by so much between the first and the last part of a backlog: caches fill, the allocator rounds up."""
LIVE_WORKERS = 2
TRIES = 3
AT_ONCE = 10**9
"""Connections in a second: as fast as the broker takes them."""
OVERLOAD = 3
"""Of the pace that the workers had alone: still twice what they apply where they get faster than they were."""
LEAST = 200_000
"""Connections of an overload, however slow the machine: enough to show what each of them would leave behind."""
OLDEST_MS = 3 * 60_000
"""The first connection of an overload; its timers are due an hour after it, when all of it must be over."""


@scenario()
async def poison_flood(trial: Trial) -> None:
    """Half of all records are bad, in every way: each is a dead letter, whole and once, and the others are applied."""
    feed = Feed("poison", trial.chance.randrange(10**6), trial.size(3_000, 100_000))
    await trial.load(feed, Feed("commands", feed.seed, 40))
    worker = await trial.worker(instance_id="worker-1", batch_records=50)
    await trial.reach(feed.count // 3, worker)
    await worker.kill()
    await trial.finish(2)
    report = await trial.verify()
    expect(report["dead letters"] > feed.count * 0.4, f"only {report['dead letters']} of {feed.count} records were bad")


@scenario(in_short=False, takes_long=True)
async def backlog(trial: Trial) -> None:
    """A backlog of 5 million events (100,000 in the short form) is worked off with flat memory."""
    feed = Feed("backlog", trial.chance.randrange(10**6), trial.size(100_000, 5_000_000))
    await trial.load(feed, until_ms=BACKLOG_UNTIL)
    _gather_as_shipped(trial)
    worker = await trial.worker()
    quarter = await trial.reach(feed.count // 4, worker)
    first = len(worker.rss)
    await trial.reach(feed.count // 2, worker)
    half = len(worker.rss)
    code = await worker.wait()
    expect(code == 0, f"the worker ended with exit code {code}: {trial.tail()}")
    early, late = max(worker.rss[first:half] or worker.rss[:half]), max(worker.rss[half:] or worker.rss)
    trial.say(f"after {quarter} records {worker.rss[first - 1] >> 20} MiB")
    _expect_flat(trial, early, late, "from the second quarter of the backlog to its second half")
    await trial.verify()


def _gather_as_shipped(trial: Trial) -> None:
    """Let units become as large as in service: what they hold is part of the memory."""
    trial.settings = replace(trial.settings, gather_seconds=Settings().gather_seconds)


def _expect_flat(trial: Trial, early: int, late: int, what: str) -> None:
    sizes = f"{early >> 20} to {late >> 20} MiB {what}"
    trial.say(f"memory: {sizes}")
    expect(late <= early * FLAT_SHARE + FLAT_BYTES, f"memory grows: {sizes}")


@scenario(in_short=False, takes_long=True)
async def overload(trial: Trial) -> None:
    """For two minutes a producer sends thrice what two live workers apply: memory is flat, all is worked off."""
    begun = time.time_ns() // 10**6
    _gather_as_shipped(trial)
    service = Service(trial, session_seconds=30.0, batch_records=500)
    await create_topics(trial.settings)
    members = [await service.start(number) for number in range(LIVE_WORKERS)]
    await service.settle(members)
    workers = [member.worker for member in members]
    warm = Feed("flood", trial.chance.randrange(10**6), trial.size(60_000, 400_000), begun - OLDEST_MS)
    pace = await _pace(trial, warm)
    before = [(len(worker.rss), max(worker.rss)) for worker in workers]
    done = await _outrun(trial, warm, pace)
    await trial.reach(done, *workers)
    trial.say(f"all of it applied {(time.time_ns() // 10**6 - begun) // 1000} s after the beginning")
    for worker, (length, early) in zip(workers, before, strict=True):
        _expect_flat(trial, early, max(worker.rss[length:]), "from before the overload to the end of its backlog")
    if time.time_ns() // 10**6 > warm.base_ms + HOUR_MS:
        raise CannotBeDoneError("it took an hour here, so that timers came due which are not what it is about")
    await service.end(members)


async def _outrun(trial: Trial, last: Feed, pace: float) -> int:
    """Send more than twice what is applied meanwhile; gives how many records there are then."""
    done, seconds = last.count, trial.size(6, 120)
    for _ in range(TRIES):
        per_second = int(pace * OVERLOAD)
        count = max(LEAST, per_second * seconds)
        last = Feed("flood", last.seed + 1, count, last.base_ms + last.count // FLOOD_PER_MS)
        took = await trial.flood(last, per_second)
        applied = await trial.reach(done) - done
        trial.say(f"{count} sent in {took:.0f} s, {applied} applied meanwhile; the pace before was {pace:.0f}/s")
        done += count
        if applied * 2 <= count:
            return done
        pace = max(pace, applied / took)  # another program had the machine when it was measured
        await trial.reach(done, *trial.workers)
    raise ChaosError(f"{TRIES} times less was sent than twice of what was applied: nothing is shown")


async def _pace(trial: Trial, feed: Feed) -> float:
    """Records in a second that live workers apply while nothing else is to do."""
    await trial.flood(feed, AT_ONCE)
    begun, applied = time.monotonic(), await trial.reach(0)
    expect(applied < feed.count, "the workers are as fast as the broker takes records, so they cannot be overloaded")
    found = await trial.reach((applied + feed.count) // 2 + 1, *trial.workers)  # at the end one partition is left
    pace = (found - applied) / (time.monotonic() - begun)
    await trial.reach(feed.count, *trial.workers)
    return pace
