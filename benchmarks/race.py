"""Runs one engine over the loaded feed and measures it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from benchmarks.check import Ends, check_peer, check_product, check_totals, ends_of, output_topics, topics_of_run
from benchmarks.engines import Engine, Process, Result, Run
from benchmarks.environment import CACHE_DIR
from benchmarks.load import SHORT_TOPIC, Loaded, run_settings
from benchmarks.measure import Mark, Meter, Sample, interpolate
from benchmarks.worker_log import RESTORED, events_of, moment
from streams.kafka.provisioning import create_topics
from streams.kafka.topics import TOPICS

POLL_SECONDS = 0.1
FIRST_SECONDS = 10.0
LOG_TAIL_CHARS = 600


@dataclass
class Figures:
    """One run's result. Microseconds are per event, from the first event to the last commit unless the name says less.

    `wrong` has what the check found, None where nothing can be checked; `failure` why there are no figures.
    """

    engine: str
    round: int
    events: int
    failure: str | None = None
    wrong: list[str] | None = None
    seconds: float = 0.0
    events_per_second: int = 0
    engine_us: float = 0.0
    broker_us: float = 0.0
    first_us: float | None = None
    first_events_per_second: int | None = None
    steady_us: float | None = None
    steady_events_per_second: int | None = None
    start_cpu_seconds: float = 0.0
    peak_rss_mib: int = 0
    others_share: float = 0.0
    """CPU time of all other processes of the machine while this ran, in cores."""


class _Race:
    """One run, from start to check."""

    def __init__(self, engine: Engine, loaded: Loaded, broker: int) -> None:
        group = f"race-{uuid.uuid4().hex[:10]}"
        feed = loaded.short_feed if engine.is_short else loaded.feed
        topic = loaded.settings.topic(SHORT_TOPIC if engine.is_short else TOPICS["inbound_connection"])
        folder = CACHE_DIR / "runs" / group
        # A worker's log says when it is ready.
        settings = replace(run_settings(loaded, group, folder), log_format="json")
        self.run = Run(settings, topic, feed.count, folder)
        self.log = folder.with_suffix(".log")
        self._engine, self._broker = engine, broker
        self._processes: list[subprocess.Popen[bytes]] = []
        self.samples: list[Sample] = []
        self.peak_rss_mib = 0.0

    def start(self) -> None:
        """Start the engine's processes; they share a log."""
        self.run.folder.mkdir(parents=True)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
        with self.log.open("wb") as log:
            for process in self._engine.start(self.run):
                self._processes.append(self._spawn(process, plain, log))

    def _spawn(self, process: Process, plain: dict[str, str], log: Any) -> subprocess.Popen[bytes]:
        environment = plain | process.environment | {"PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(process.command, env=environment, cwd=process.folder, stdout=log, stderr=log)

    def stop(self) -> None:
        """Kill: everything that counts is in Kafka, or in a file, by now."""
        for process in self._processes:
            process.kill()
            process.wait()

    async def measure(self, seconds: float, watch: Callable[[int], AbstractContextManager[object]] | None) -> None:
        """Sample until the engine is done; from its first commit on, `watch` has its process id.

        Raises:
            RuntimeError: a process ended, or the time is over.
        """
        meter = Meter([process.pid for process in self._processes], self._broker)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.run.settings.bootstrap)
        await admin.start()
        deadline = time.monotonic() + seconds
        stack = ExitStack()
        try:
            while not self._is_done():
                if time.monotonic() > deadline:
                    raise RuntimeError(f"not done after {seconds:.0f} s, {self._events()} events committed")
                if ended := [process.returncode for process in self._processes if process.poll() is not None]:
                    raise RuntimeError(f"ended with exit code {ended[0]}: {self._tail()}")
                await asyncio.sleep(POLL_SECONDS)
                self.samples.append(meter.sample(await self._committed(admin)))
                if watch is not None and self._events():
                    stack.enter_context(watch(self._processes[0].pid))
                    watch = None
            self.peak_rss_mib = meter.peak_rss_mib()
        finally:
            stack.close()
            await admin.close()

    async def _committed(self, admin: AIOKafkaAdminClient) -> int:
        if not self._engine.commits:
            return 0
        with suppress(GroupCoordinatorNotAvailableError, KafkaError):
            offsets = await admin.list_consumer_group_offsets(self.run.group)
            return sum(max(0, found.offset) for place, found in offsets.items() if place.topic == self.run.topic)
        return self._events()

    def _events(self) -> int:
        return self.samples[-1].events if self.samples else 0

    def _is_done(self) -> bool:
        return self._events() >= self.run.total if self._engine.commits else bool(self.marks("END"))

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARS:]

    def marks(self, *names: str) -> list[Mark]:
        """The marks that the engine printed."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) == 4 and words[0] in names:
                found.append(Mark(float(words[2]), int(words[1]), float(words[3])))
        return found

    def commits(self) -> list[Mark]:
        """The marks of a worker, which prints none."""
        return worker_marks(self.log.read_text(errors="replace"), self.samples)

    async def check(self, loaded: Loaded, begin: Ends) -> list[str] | None:
        """What differs from the oracle; None where there is nothing to check."""
        peers = loaded.short_peers if self._engine.is_short else loaded.peers
        match self._engine.result:
            case Result.NOTHING:
                return None
            case Result.TOTALS:
                return check_totals(self.log.read_text(errors="replace"), self.run.total, peers)
            case Result.PRODUCT:
                return await check_product(self.run, begin, loaded.product)
            case _:
                return await check_peer(self.run, self._engine, begin, peers)

    async def clean(self) -> None:
        """Delete the run's own topics and files; its log stays."""
        shutil.rmtree(self.run.folder, ignore_errors=True)
        topics = await topics_of_run(self.run)
        if topics:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.run.settings.bootstrap)
            await admin.start()
            await admin.delete_topics(topics)
            await admin.close()


def worker_marks(log: str, samples: Sequence[Sample]) -> list[Mark]:
    """Where the figures of a worker, or of several with one log, begin; then every commit that was seen.

    They begin when the last partition is restored. Until then no connection is taken, unless another worker joins late.
    """
    ready = max(map(moment, events_of(log, RESTORED)), default=None)
    if ready is None or not samples:
        return []
    done = max((row.events for row in samples if row.at <= ready), default=0)
    cpu = interpolate([row.at for row in samples], [row.engine for row in samples], ready)
    later = (Mark(row.at, row.events, row.engine) for row in samples if row.at > ready and row.events > done)
    return [Mark(ready, done, cpu), *later]


def fill(figures: Figures, samples: Sequence[Sample], marks: Sequence[Mark], ended: Sequence[Mark]) -> None:
    """Work out the figures.

    The first mark is the beginning, what was done by then does not count; the end is the last commit, or the engine's
    own word. A peer prints its marks, the first one at its first event; `worker_marks` has those of the worker.
    """
    if not marks:
        raise RuntimeError("done before the first look: the feed is too short")
    at = [row.at for row in samples]

    def seen(name: str, moment: float) -> float:
        return interpolate(at, [float(getattr(row, name)) for row in samples], moment)

    last = samples[-1]
    begin, end, cpu_at_end = marks[0], last.at, last.engine
    if ended:
        end, cpu_at_end = ended[0].at, ended[0].cpu
    events = figures.events - begin.events
    if events <= 0 or end <= begin.at:
        raise RuntimeError("done before the second look: the feed is too short")
    figures.seconds = round(end - begin.at, 3)
    figures.events_per_second = round(events / (end - begin.at))
    figures.engine_us = round((cpu_at_end - begin.cpu) / events * 1e6, 2)
    figures.broker_us = round((seen("broker", end) - seen("broker", begin.at)) / events * 1e6, 2)
    figures.start_cpu_seconds = round(begin.cpu, 2)
    mine = sum(getattr(last, name) - seen(name, samples[0].at) for name in ("engine", "broker", "own"))
    others = last.busy - samples[0].busy - mine
    figures.others_share = round(max(0.0, others) / max(last.at - samples[0].at, POLL_SECONDS), 2)
    moments, counts, cpus = ([getattr(mark, name) for mark in marks] for name in ("at", "events", "cpu"))
    middle = begin.events + events / 2
    turn = interpolate(counts, moments, middle)
    if begin.at + FIRST_SECONDS < end:
        first = begin.at + FIRST_SECONDS
        done = interpolate(moments, counts, first) - begin.events
        if done > 0:
            figures.first_events_per_second = round(done / FIRST_SECONDS)
            figures.first_us = round((interpolate(moments, cpus, first) - begin.cpu) / done * 1e6, 2)
        # Short of twenty seconds the second half is as steady as it gets.
        turn = max(turn, first) if end - begin.at >= 2 * FIRST_SECONDS else turn
    left = counts[-1] - interpolate(moments, counts, turn)
    if left > 0 and moments[-1] > turn:
        figures.steady_us = round((cpus[-1] - interpolate(moments, cpus, turn)) / left * 1e6, 2)
        figures.steady_events_per_second = round(left / (moments[-1] - turn))


async def run_engine(
    engine: Engine,
    loaded: Loaded,
    broker: int,
    number: int,
    seconds: float,
    watch: Callable[[int], AbstractContextManager[object]] | None = None,
) -> Figures:
    """One run of one engine; a failure is part of the result. `watch` may look at its process, and disturbs it."""
    race = _Race(engine, loaded, broker)
    figures = Figures(engine.name, number, race.run.total)
    if engine.is_product:
        await create_topics(race.run.settings)
    begin = await ends_of(race.run.settings.bootstrap, output_topics(race.run, engine))
    try:
        race.start()
        try:
            await race.measure(seconds, watch)
        finally:
            race.stop()
        figures.peak_rss_mib = round(race.peak_rss_mib)
        fill(figures, race.samples, race.marks("BEGIN", "AT") or race.commits(), race.marks("END"))
        figures.wrong = await race.check(loaded, begin)
    except (RuntimeError, ValueError) as error:
        figures.failure = str(error)
    await race.clean()
    return figures
