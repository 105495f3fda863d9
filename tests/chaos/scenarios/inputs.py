"""What comes in: more bad records than good ones, and more of it than was ever worked off at once."""

from __future__ import annotations

from tests.chaos.feeds import BACKLOG_UNTIL, Feed
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial, expect

FLAT_SHARE = 1.1
FLAT_BYTES = 32 << 20
"""Memory may move by so much between the first and the last part of a backlog: caches fill, the allocator rounds up."""


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
    worker = await trial.worker()
    quarter = await trial.reach(feed.count // 4, worker)
    first = len(worker.rss)
    await trial.reach(feed.count // 2, worker)
    half = len(worker.rss)
    code = await worker.wait()
    expect(code == 0, f"the worker ended with exit code {code}: {trial.tail()}")
    early, late = max(worker.rss[first:half] or worker.rss[:half]), max(worker.rss[half:])
    sizes = f"{early >> 20} MiB in the second quarter, {late >> 20} MiB in the second half"
    trial.say(f"memory: {sizes}, after {quarter} records {worker.rss[first - 1] >> 20} MiB")
    expect(late <= early * FLAT_SHARE + FLAT_BYTES, f"memory grows with the backlog: {sizes}")
    await trial.verify()
