"""A rolling restart of static members under load, as a StatefulSet does it, and how long each partition pauses."""

from __future__ import annotations

import time

from tests.chaos.scenario import scenario
from tests.chaos.static_members import Service
from tests.chaos.trial import Trial, expect

MEMBERS = 3
SESSION_SECONDS = 30.0
"""A restarted member is back within it, so the group deals nothing out."""


@scenario()
async def rolling_restart(trial: Trial) -> None:
    """Three static members under load, restarted one by one: each keeps its partitions, nothing is lost or doubled."""
    service = Service(trial, SESSION_SECONDS)
    await service.load(200)
    members = [await service.start(number) for number in range(MEMBERS)]
    await service.settle(members)
    async with service.under_load():
        for member in members * trial.size(1, 3):
            before = {other.number: await other.partitions() for other in members}
            began = time.monotonic()
            await member.end()
            ended = time.monotonic()
            member.worker = (await service.start(member.number)).worker
            after = {other.number: await other.partitions() for other in members}
            trial.say(
                f"member {member.number}: ended within {ended - began:.1f} s, "
                f"ready {time.monotonic() - ended:.1f} s after its start"
            )
            expect(after == before, f"partitions by member were {before} and are {after}")
    await service.end(members)
