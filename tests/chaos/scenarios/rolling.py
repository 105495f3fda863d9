"""A rolling restart of static members under load, as a StatefulSet does it, and how long each partition pauses."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.adapters.schemas import TOPICS
from tests.chaos.feeds import Feed
from tests.chaos.scenario import scenario
from tests.chaos.trial import POLL_SECONDS, Trial, expect
from tests.chaos.worker import Worker

MEMBERS = 3
SESSION_SECONDS = 30.0
"""A restarted member is back within it, so the group deals nothing out."""
READY_SECONDS = 120
LIVE_MINUTES = 20


@dataclass
class Member:
    """A static member: its name, folder and port stay, its process changes."""

    number: int
    port: int
    worker: Worker

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """What `/readyz` says; nothing while nobody answers."""

        def ask() -> tuple[bool, dict[str, Any]]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                    return True, json.load(answer)
            except urllib.error.HTTPError as refused:
                return False, json.load(refused)
            except OSError:
                return False, {}

        return await asyncio.to_thread(ask)

    async def partitions(self) -> list[str]:
        """Wait until it is ready with partitions; gives them."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                is_ready, body = await self.readiness()
                if is_ready and body["partitions"]:
                    return sorted(body["partitions"])
                expect(self.worker.code is None, f"member {self.number} ended with exit code {self.worker.code}")
                await asyncio.sleep(POLL_SECONDS)


class Pauses:
    """The longest time for which a partition had records that wait, and committed none of them."""

    def __init__(self, trial: Trial) -> None:
        topic = trial.settings.topic(TOPICS["inbound_connection"])
        self._tps = [TopicPartition(topic, number) for number in range(trial.settings.partitions)]
        self._trial = trial
        self.longest = dict.fromkeys(range(trial.settings.partitions), 0.0)

    async def watch(self) -> None:
        """Look until cancelled."""
        bootstrap = self._trial.kafka.bootstrap
        admin, consumer = (
            AIOKafkaAdminClient(bootstrap_servers=bootstrap),
            AIOKafkaConsumer(bootstrap_servers=bootstrap),
        )
        await admin.start()
        await consumer.start()
        since: dict[int, tuple[int, float]] = {}
        try:
            while True:
                committed = await admin.list_consumer_group_offsets(self._trial.settings.app_id)
                ends = await consumer.end_offsets(self._tps)
                now = time.monotonic()
                for tp in self._tps:
                    found = committed.get(tp)
                    at = max(0, found.offset) if found is not None else 0
                    if at >= ends[tp] or since.get(tp.partition, (-1, 0.0))[0] != at:
                        since[tp.partition] = (at, now)
                    self.longest[tp.partition] = max(self.longest[tp.partition], now - since[tp.partition][1])
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await consumer.stop()
            await admin.close()


@scenario()
async def rolling_restart(trial: Trial) -> None:
    """Three static members under load, restarted one by one: each keeps its partitions, nothing is lost or doubled."""
    base = time.time_ns() // 10**6 - LIVE_MINUTES * 60_000
    produced, is_done = 0, asyncio.Event()

    async def load() -> None:
        nonlocal produced
        while not is_done.is_set():
            feed = Feed("recent", trial.chance.randrange(10**6), trial.size(400, 2_000), base + produced * 20)
            await trial.load(feed, until_ms=None)
            produced += feed.count

    async def start(number: int, port: int) -> Worker:
        return await trial.worker(
            {"TES_WEB_PORT": str(port)},
            lives=True,
            instance_id=f"worker-{number}",
            state_dir=f"{trial.settings.state_dir}-{number}",
            session_timeout_seconds=SESSION_SECONDS,
            batch_records=50,
            tick_seconds=0.2,
        )

    feed = Feed("recent", trial.chance.randrange(10**6), 200, base)
    await trial.load(feed, until_ms=None)
    produced = feed.count
    ports = [free_port() for _ in range(MEMBERS)]
    members = [Member(number, port, await start(number, port)) for number, port in enumerate(ports)]
    async with asyncio.timeout(READY_SECONDS):
        while sorted([name for member in members for name in await member.partitions()]) != ["0", "1", "2"]:
            await asyncio.sleep(POLL_SECONDS)
    pauses = Pauses(trial)
    tasks = [asyncio.create_task(load()), asyncio.create_task(pauses.watch())]
    try:
        for member in members * trial.size(1, 3):
            before = {other.number: await other.partitions() for other in members}
            began = time.monotonic()
            code = await member.worker.terminate()
            ended = time.monotonic()
            expect(code == 0, f"a worker that was asked to end gave exit code {code}: {trial.tail()}")
            member.worker = await start(member.number, member.port)
            after = {other.number: await other.partitions() for other in members}
            trial.say(
                f"member {member.number}: ended within {ended - began:.1f} s, "
                f"ready {time.monotonic() - ended:.1f} s after its start"
            )
            expect(after == before, f"partitions by member were {before} and are {after}")
            for task in tasks:
                if task.done():
                    task.result()
    finally:
        is_done.set()
        await tasks[0]  # a feed that is produced in part is not what the verifier expects
    await trial.reach(produced, *(member.worker for member in members))
    tasks[1].cancel()
    with suppress(asyncio.CancelledError):
        await tasks[1]
    told = ", ".join(f"partition {number} {seconds:.1f} s" for number, seconds in pauses.longest.items())
    trial.say(f"longest pause with records waiting: {told}")
    owned = {member.number: await member.partitions() for member in members}
    codes = await asyncio.gather(*(member.worker.terminate() for member in members))
    expect(set(codes) == {0}, f"the workers ended with {codes}: {trial.tail()}")
    # Who came first had every partition for a moment, and left folders in which nothing is but the changelog's name.
    folders = [
        path
        for member in members
        for path in trial.stores(member.worker.settings)
        if path.name.rpartition("-")[2] in owned[member.number]
    ]
    await trial.verify(stores=folders)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
