"""Static members of a group under load, as the pods of a StatefulSet are, and how long each partition pauses."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.kafka.topics import TOPICS
from tests.chaos.feeds import RECENT_STEP_MS, Feed
from tests.chaos.trial import POLL_SECONDS, Trial, expect
from tests.chaos.worker import Worker
from tests.support.ports import free_port

READY_SECONDS = 120
LIVE_MINUTES = 20


@dataclass
class Member:
    """A static member: its name, folder and port stay, its process changes."""

    number: int
    port: int
    worker: Worker

    async def end(self) -> None:
        """End it in good order."""
        code = await self.worker.terminate()
        expect(code == 0, f"member {self.number} was asked to end and gave exit code {code}")

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

    def __str__(self) -> str:
        return ", ".join(f"partition {number} {seconds:.1f} s" for number, seconds in self.longest.items())

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


@dataclass
class Service:
    """Static members and a producer that goes on as long as `under_load`."""

    trial: Trial
    session_seconds: float
    batch_records: int = 50
    produced: int = 0
    base_ms: int = field(default_factory=lambda: time.time_ns() // 10**6 - LIVE_MINUTES * 60_000)
    _ports: dict[int, int] = field(default_factory=dict)

    async def load(self, count: int) -> None:
        """Produce so many connections, of the last minutes."""
        chance = self.trial.chance.randrange(10**6)
        begin = self.base_ms + self.produced * RECENT_STEP_MS
        await self.trial.load(Feed("recent", chance, count, begin), until_ms=None)
        self.produced += count

    def seconds_ahead(self, count: int) -> float:
        """How far ahead of the clock the last of so many more connections would be; 0 where it is not."""
        return max(0.0, (self.base_ms + (self.produced + count) * RECENT_STEP_MS) / 1000 - time.time())

    async def start(self, number: int) -> Member:
        """Start a member, or start it again."""
        port = self._ports.setdefault(number, free_port())
        worker = await self.trial.worker(
            {"TES_WEB_PORT": str(port)},
            lives=True,
            instance_id=f"worker-{number}",
            state_dir=f"{self.trial.settings.state_dir}-{number}",
            session_timeout_seconds=self.session_seconds,
            batch_records=self.batch_records,
            tick_seconds=0.2,
        )
        return Member(number, port, worker)

    async def settle(self, members: Sequence[Member]) -> dict[int, list[str]]:
        """Wait until these members, all of them, work on all partitions; gives the partitions of each."""
        names = sorted(map(str, range(self.trial.settings.partitions)))
        async with asyncio.timeout(READY_SECONDS):
            while True:
                found = {member.number: await member.partitions() for member in members}
                if sorted(name for owned in found.values() for name in owned) == names:
                    return found
                await asyncio.sleep(POLL_SECONDS)

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[Pauses]:
        """Produce, and measure pauses, until everything that was produced is committed."""
        is_done, pauses = asyncio.Event(), Pauses(self.trial)

        async def produce() -> None:
            count = self.trial.size(400, 2_000)
            while not is_done.is_set():
                # A long trial overtakes the clock, ahead of which a worker takes nothing.
                with suppress(TimeoutError):
                    await asyncio.wait_for(is_done.wait(), self.seconds_ahead(count))
                    break
                await self.load(count)

        tasks = [asyncio.create_task(produce()), asyncio.create_task(pauses.watch())]
        try:
            yield pauses
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            is_done.set()
            await tasks[0]  # a feed that is produced in part is not what the verifier expects
            try:
                await self.trial.reach(self.produced, *self.trial.workers)
            finally:
                tasks[1].cancel()
                with suppress(asyncio.CancelledError):
                    await tasks[1]
        self.trial.say(f"longest pause with records waiting: {pauses}")

    async def end(self, members: Sequence[Member]) -> None:
        """End the members, and verify topics and the RocksDB of who owned each partition last."""
        owned = await self.settle(members)
        await asyncio.gather(*(member.end() for member in members))
        # Who came first had every partition for a moment, and left folders that hold nothing but the changelog's name.
        folders = [
            path
            for member in members
            for path in self.trial.stores(member.worker.settings)
            if path.name.rpartition("-")[2] in owned[member.number]
        ]
        await self.trial.verify(stores=folders)
