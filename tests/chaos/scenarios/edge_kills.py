"""Processes of the edge that are killed at every named point, and at any moment."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.chaos.edge.population import filler_records
from tests.chaos.edge.trial import EdgeTrial, edge_of
from tests.chaos.process import KILLED, Process
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial, expect

EDGE = Path(__file__).parents[3] / "streams" / "edge"
READING = ("read", "written", "completed")
"""Points of a reading from the beginning, which a sync that starts with an empty folder does."""
ONCE = ("read", "completed")
SELDOM = ("refused", "counted", "gathered", "moved")
"""Points of the few messages whose client is known already, and of what is done for many at once; a slow machine is to
come to them in time, too."""
FILLER = 10_000
"""Verdicts about other servers, so that all of them are not read at once."""


def crash_points(*files: Path) -> list[str]:
    """The points that `TES_EDGE_CRASH_AT` knows: every name that the edge's code gives to its hook."""
    code = "".join(path.read_text() for path in files)
    return sorted(set(re.findall(r'failpoint\("([a-z-]+)"\)', code)))


async def _ended(trial: Trial, process: Process, point: str) -> None:
    await trial.until(lambda: process.code is not None, f"an end at {point}")
    expect(process.code == KILLED, f"{point}: exit code {process.code}, must be killed: {process.log[-2000:]}")


@scenario()
async def edge_door_killed_at_each_point(trial: Trial) -> None:
    """SIGKILL of the edge's door before and behind each write of its spool, and at random moments, under load."""
    points = crash_points(EDGE / "failpoints.py", EDGE / "store" / "journaled.py")
    expect(len(points) >= 6, f"only these crash points were found in the code: {points}")
    async with edge_of(trial) as edge:
        await edge.begin()
        for point in points * trial.size(1, 5):
            await edge.kill_door()
            at = f"{point}:{trial.chance.randint(5, 40) if point in SELDOM else trial.chance.randint(20, 150)}"
            await _ended(trial, await edge.start_door(at), at)
        for _ in range(trial.size(2, 40)):
            await edge.start_door()
            await asyncio.sleep(trial.chance.random())
            await edge.kill_door()
        await edge.start_door()
        await edge.until_enforced()
        report = await edge.finish()
        expect(report["unanswered"] > 0, "no message met a dead door")


@scenario()
async def edge_sync_killed_at_each_point(trial: Trial) -> None:
    """SIGKILL of the edge's sync between Kafka's answer and the removal of events, and amid a reading of verdicts."""
    points = crash_points(*(EDGE / "sync").glob("*.py"))
    expect(len(points) >= 5, f"only these crash points were found in the code: {points}")
    async with edge_of(trial) as edge:
        await edge.begin()
        await edge.service.fill(filler_records(FILLER))
        for point in points * trial.size(1, 3):
            await edge.kill_sync()
            if point in READING:
                edge.remove_verdicts()
            at = f"{point}:{1 if point in ONCE else trial.chance.randint(2, 4)}"
            await _ended(trial, await edge.start_sync(at), at)
            await edge.start_sync()
            await edge.until_confirmed()
        await _kill_at_any_moment(edge, trial)
        await edge.start_sync()
        await edge.until_confirmed()
        await edge.until_enforced()
        report = await edge.finish()
        expect(
            report["events told again"] > 0, "no event was told again, so no kill met one between answer and removal"
        )


async def _kill_at_any_moment(edge: EdgeTrial, trial: Trial) -> None:
    for _ in range(trial.size(3, 40)):
        await edge.kill_sync()
        await edge.start_sync()
        await asyncio.sleep(0.3 + 2 * trial.chance.random())
    await edge.kill_sync()


@scenario(owns_broker=True, in_short=False)
async def edge_killed_at_once_while_kafka_restarts(trial: Trial) -> None:
    """Door, sync and broker are killed at once and started again."""
    async with edge_of(trial) as edge:
        await edge.begin()
        for _ in range(trial.size(1, 5)):
            await edge.until_enforced()
            await asyncio.gather(edge.kill_door(), edge.kill_sync(), asyncio.to_thread(trial.kafka.kill))
            await edge.start_door()
            await edge.start_sync()
            await asyncio.sleep(5 * trial.chance.random())
            await asyncio.to_thread(trial.kafka.restart)
            await edge.until_confirmed()
        await edge.finish()
