"""Static members that are scaled away and come back under load, as a StatefulSet does it."""

from __future__ import annotations

import asyncio
import time

from streams.operations.group import members_of
from tests.chaos.scenario import scenario
from tests.chaos.static_members import Member, Service
from tests.chaos.trial import Trial, expect

MEMBERS = 3
SESSION_SECONDS = 12.0
"""Longer than two members take to end, so that they are seen to be members still."""
SOON = 1 / 3
"""Of a session: who has ended by then was heard of lately enough to be a member."""


@scenario(takes_long=True)
async def static_members_scaled_down_and_up(trial: Trial) -> None:
    """Three static members under load, scaled to one and back: who goes keeps his partitions until the session ends."""
    service = Service(trial, SESSION_SECONDS)
    await service.load(200)
    members = [await service.start(number) for number in range(MEMBERS)]
    await service.settle(members)
    async with service.under_load() as pauses:
        for _ in range(trial.size(1, 4)):
            await _scale_down(trial, service, members)
            trial.say(f"longest pauses by then: {pauses}")
            await _scale_up(trial, service, members)
    await service.end(members)


async def _scale_down(trial: Trial, service: Service, members: list[Member]) -> None:
    stays, *goes = members
    own = await stays.partitions()
    began = time.monotonic()
    await asyncio.gather(*(member.end() for member in goes))
    ended = time.monotonic()
    if ended - began < service.session_seconds * SOON:
        count = await members_of(stays.worker.settings)
        expect(count == len(members), f"{len(goes)} static members ended, and the group has {count} of {len(members)}")
        expect(await stays.partitions() == own, f"member {stays.number} had {own} and got others before a session end")
    else:
        trial.say("they took so long to end that their sessions may be over: not looked whether they are members still")
    owned = await service.settle([stays])
    trial.say(
        f"{len(members)} to 1: ended within {ended - began:.1f} s, member {stays.number} has {owned[stays.number]} "
        f"{time.monotonic() - began:.1f} s after the signal, with a session of {service.session_seconds:g} s"
    )
    count = await members_of(stays.worker.settings)
    expect(count == 1, f"the group has {count} members, not the one that was left")


async def _scale_up(trial: Trial, service: Service, members: list[Member]) -> None:
    began = time.monotonic()
    started = await asyncio.gather(*(service.start(member.number) for member in members[1:]))
    for member, again in zip(members[1:], started, strict=True):
        member.worker = again.worker
    owned = await service.settle(members)
    trial.say(f"1 to {len(members)}: {owned} {time.monotonic() - began:.1f} s after their start")
    expect(all(len(names) == 1 for names in owned.values()), f"partitions are not shared out evenly: {owned}")
