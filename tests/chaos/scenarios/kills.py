"""Workers that are killed, or stopped until others have their partitions."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path
from typing import Any

from tests.chaos.process import KILLED
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial, expect
from tests.chaos.worker import EXIT_FAILED

ENGINE = Path(__file__).parents[3] / "streams" / "engine"
SMALL: dict[str, Any] = {"batch_records": 5, "instance_id": "worker-1"}
"""Small fetches make many units; a static member has its partitions back without waiting for the session time-out."""
RECORDS_PER_KILL = 250
AT_ONCE = ("assigned", "fenced", "restored")
"""Points that are reached at the start, whether or not there is work."""


def crash_points() -> list[str]:
    """The points that `TES_CRASH_AT` knows: every name that the engine's code gives to its hook."""
    code = "".join(path.read_text() for path in sorted(ENGINE.rglob("*.py")))
    return sorted(set(re.findall(r'failpoint\("([a-z-]+)"\)', code)))


async def _at_every_point(trial: Trial, wipes: bool) -> None:
    points = crash_points()
    expect(len(points) >= 9, f"only these crash points were found in the code: {points}")
    if trial.is_short:  # the other half is the other scenario's
        points = points[int(wipes) :: 2]
    trial.chance.shuffle(points)
    rounds = trial.size(1, 3)
    blows = points * rounds
    for number, point in enumerate(blows):
        # Each of the three partitions has a unit in it.
        await trial.load_part(number, len(blows), trial.size(400, 600))
        nth = 1 if point in AT_ONCE else trial.chance.randint(1, 3)
        worker = await trial.worker(crash_at=f"{point}:{nth}", **SMALL)
        code = await worker.wait()
        expect(code == KILLED, f"{point}:{nth}: exit code {code}, must be killed: {trial.tail()}")
        if wipes:
            trial.wipe()
    trial.say(f"killed at {', '.join(points)}, {rounds} times each")
    await trial.finish(**SMALL)
    await trial.verify()


@scenario(in_short=False)
async def crash_points_rocksdb_kept(trial: Trial) -> None:
    """SIGKILL at every named crash point, one after the other over one feed; RocksDB stays."""
    await _at_every_point(trial, wipes=False)


@scenario(in_short=False)
async def crash_points_rocksdb_wiped(trial: Trial) -> None:
    """SIGKILL at every named crash point; RocksDB is deleted after each."""
    await _at_every_point(trial, wipes=True)


async def _at_random(trial: Trial, wipes: bool) -> None:
    for number in range(trial.kills):
        await trial.load_part(number, trial.kills, RECORDS_PER_KILL)
        worker = await trial.worker(**SMALL)
        if trial.chance.random() < 0.25:  # at any moment, the start included
            await asyncio.sleep(trial.chance.random() * 3)
        else:
            await trial.advance(worker)
            await asyncio.sleep(trial.chance.random() * 0.1)
        await worker.kill()
        if wipes:
            trial.wipe()
        if number % 10 == 9:
            trial.say(f"{number + 1} kills, {await trial.committed()} of {trial.loaded} records committed")
    await trial.finish(**SMALL)
    await trial.verify()


@scenario()
async def random_kills_rocksdb_kept(trial: Trial) -> None:
    """SIGKILL at random moments, under load and while it starts (`--kills`); RocksDB stays."""
    await _at_random(trial, wipes=False)


@scenario(in_short=False)
async def random_kills_rocksdb_wiped(trial: Trial) -> None:
    """SIGKILL at random moments (`--kills`); RocksDB is deleted after each."""
    await _at_random(trial, wipes=True)


@scenario(in_short=False)
async def zombie_after_takeover(trial: Trial) -> None:
    """SIGSTOP past the session time-out, another worker finishes, SIGCONT: the zombie is fenced and changes nothing."""
    count = trial.size(750, 6_000)
    await trial.load_part(0, 2, count)
    zombie = await trial.worker(batch_records=20)
    await trial.advance(zombie, 0.5)
    zombie.signal(signal.SIGSTOP)
    await trial.load_part(1, 2, count)
    other = f"{trial.settings.state_dir}-2"
    await trial.finish(state_dir=other)
    before = await trial.verify()
    zombie.signal(signal.SIGCONT)
    code = await zombie.wait()
    expect(code in (0, EXIT_FAILED), f"the zombie ended with exit code {code}: {trial.tail()}")
    await trial.finish(state_dir=other)
    after = await trial.verify()
    expect(before == after, f"the zombie changed the topics from {before} to {after}")


@scenario(in_short=False)
async def zombie_amid_work(trial: Trial) -> None:
    """SIGSTOP past the session time-out, and SIGCONT while the new owner is at work with the same partitions."""
    count = trial.size(1_250, 12_000)
    await trial.load_part(0, 2, count)
    zombie = await trial.worker(batch_records=10)
    await trial.advance(zombie, 0.25)
    zombie.signal(signal.SIGSTOP)
    await trial.load_part(1, 2, count)
    other = await trial.worker(batch_records=10, state_dir=f"{trial.settings.state_dir}-2")
    await trial.advance(other, 0.5)
    zombie.signal(signal.SIGCONT)
    codes = await asyncio.gather(zombie.wait(), other.wait())
    expect(set(codes) <= {0, EXIT_FAILED}, f"the workers ended with {codes}: {trial.tail()}")
    trial.say(f"the zombie and the new owner ended with {codes}")
    await trial.finish()
    await trial.verify()
