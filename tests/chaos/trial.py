"""One run of a scenario: its corner of a cluster, its workers, its feed, and the verification at the end."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.dev.embedded_kafka import EmbeddedKafka
from streams.settings.worker import Settings
from tests.chaos.feeds import START, UNTIL, Feed
from tests.chaos.process import KILLED
from tests.chaos.worker import EXIT_FAILED, READY, Worker

POLL_SECONDS = 0.03
PATIENCE_SECONDS = 120.0
"""For what comes within seconds on a machine with nothing else to do."""
ANSWER_SECONDS = 20.0
COMMANDS = 40
TAIL = " ends with"
"""What a line before the end of a log ends with."""
RESTARTS = 20
"""A supervisor that had to start a worker again more often than this would have called somebody."""


class ChaosError(AssertionError):
    """The service did not do what it promises; the message says what was seen."""


def expect(condition: bool, text: str) -> None:
    """Fail the scenario unless a promise holds."""
    if not condition:
        raise ChaosError(text)


@dataclass
class Trial:
    """Everything a scenario needs; `chance` is its only source of randomness."""

    name: str
    seed: int
    is_short: bool
    kills: int
    kafka: EmbeddedKafka
    folder: Path
    settings: Settings
    say: Callable[[str], None]
    chance: random.Random = field(init=False)
    workers: list[Worker] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    until_ms: int | None = UNTIL
    loaded: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed}:{self.name}")
        self._numbers = itertools.count()
        self._admin: AIOKafkaAdminClient | None = None

    def size(self, short: int, long: int) -> int:
        """A number that depends on the form of the run."""
        return short if self.is_short else long

    async def load(
        self, feed: Feed, commands: Feed | None = None, until_ms: int | None = UNTIL, **expected: Any
    ) -> int:
        """Produce connections and commands, and let the verifier expect what they come to; gives how many there are.

        `expected` goes into the verifier's `Step`. `loaded` counts all that was produced.
        """
        count = int(await self.run_program("tests.chaos.load", self._step(feed, commands, until_ms, expected)))
        self.loaded += count
        return count

    async def load_before(self, feed: Feed, commands: Feed | None = None) -> int:
        """Produce what another feed follows in time; a replay ends at its last record, and moves no clock further."""
        count = await self.load(feed, commands, None)
        self.until_ms = START
        return count

    async def load_part(self, number: int, parts: int, count: int) -> int:
        """Produce one of the parts, from 0, of the usual feed with its commands; gives how many records it has.

        A worker works off all that is there, as fast as its machine lets it. So what a later worker needs is produced
        when its turn comes; no worker may be at work then, or it might read connections before the commands among them.
        """
        seed = self.chance.randrange(10**6)
        feed = Feed("mixed", seed, count, part=number, parts=parts)
        commands = Feed("commands", seed, max(1, COMMANDS // parts), part=number, parts=parts)
        return await (self.load if number == parts - 1 else self.load_before)(feed, commands)

    async def flood(self, feed: Feed, per_second: int) -> float:
        """Produce connections of now at a pace, all encoded beforehand; gives the seconds it took to send."""
        return float(await self.run_program("tests.chaos.flood", self._step(feed, None, None, {}, per_second)))

    def _step(
        self, feed: Feed, commands: Feed | None, until_ms: int | None, expected: dict[str, Any], per_second: int = 0
    ) -> Path:
        """Let the verifier expect a step; gives the file that tells a program to produce it."""
        self.until_ms = until_ms
        step = {"connections": feed.spec(), "commands": commands.spec() if commands else None, "until_ms": until_ms}
        self.steps.append({**step, **expected})
        names = ("topic_prefix", "app_id", "partitions")
        given = {
            "bootstrap": self.kafka.bootstrap,
            "settings": {name: getattr(self.settings, name) for name in names},
            "step": step,
            "per_second": per_second,
        }
        file = self.folder / "load.json"
        file.write_text(json.dumps(given))
        return file

    async def load_mixed(self, short: int, long: int) -> int:
        """Produce the usual feed with its commands; gives how many records there are to read."""
        feed = Feed("mixed", self.chance.randrange(10**6), self.size(short, long))
        return await self.load(feed, Feed("commands", feed.seed, COMMANDS))

    async def run_program(self, program: str, file: Path) -> bytes:
        """Run one of the chaos programs; gives what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", program, str(file), stdout=asyncio.subprocess.PIPE
        )
        try:
            out, _ = await process.communicate()
        except BaseException:
            process.kill()
            raise
        if not out:
            raise ChaosError(f"{program} broke down with exit code {process.returncode}, see above: {file}")
        return out

    async def worker(
        self, environment: Mapping[str, str] | None = None, *, lives: bool = False, **changes: Any
    ) -> Worker:
        """Start a worker process that replays what is loaded, or lives by the wall clock; `changes` are settings."""
        settings, until_ms = replace(self.settings, **changes), None if lives else self.until_ms
        # What one worker has done must not be taken for what another one that lives beside it has.
        log_file = self.folder / f"worker-{next(self._numbers):03}.log"
        worker = await Worker.start(settings, until_ms, log_file, environment or {})
        self.workers.append(worker)
        return worker

    async def committed(self) -> int:
        """How many records of both inputs the group has committed; 0 while nobody can tell."""
        return await self._known_committed() or 0

    async def _known_committed(self) -> int | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._admin is None:
                    self._admin = admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
                    await admin.start()
                offsets = await self._admin.list_consumer_group_offsets(self.settings.app_id)
                counts: list[int] = [max(0, found.offset) for found in offsets.values()]
                return sum(counts)
        except (KafkaError, TimeoutError, OSError):
            await self._close_admin()
            return None

    async def reach(self, count: int, *workers: Worker) -> int:
        """Wait until so many records are committed; gives how many.

        Raises:
            ChaosError: all of these workers ended before.
        """
        while True:
            ended = bool(workers) and all(worker.code is not None for worker in workers)
            found = await self._known_committed()
            if found is not None and found >= count:
                return found
            if ended and found is not None:
                codes = [worker.code for worker in workers]
                raise ChaosError(f"the workers ended with {codes} at {found} of {count} records: {self.tail()}")
            await asyncio.sleep(POLL_SECONDS)

    async def advance(self, worker: Worker, most: float = 1.0) -> int:
        """Wait until a worker has committed some, at most this share, of what waits; gives how many there are then."""
        found = await self.committed()
        left = max(0, self.loaded - found)
        return await self.reach(found + self.chance.randint(min(1, left), max(min(1, left), int(left * most))), worker)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition():
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise ChaosError(f"{what} did not happen within {PATIENCE_SECONDS:.0f} s: {self.tail()}") from None

    async def finish(self, count: int = 1, **changes: Any) -> None:
        """Let workers that a supervisor starts again work to the end of the replay."""

        async def supervise(number: int) -> None:
            for _ in range(RESTARTS):
                own = {"state_dir": f"{self.settings.state_dir}-{number}"} if number else {}
                code = await (await self.worker(**own | changes)).wait()
                if code == 0:
                    return
                expect(code in (EXIT_FAILED, KILLED), f"a worker exited with code {code}: {self.tail()}")
            raise ChaosError(f"a worker was started {RESTARTS} times and did not end well: {self.tail()}")

        await asyncio.gather(*(supervise(number) for number in range(count)))

    async def work_off(self, worker: Worker, **changes: Any) -> None:
        """Let a live worker, which a supervisor starts again, apply all that is loaded, and end it in order."""
        for _ in range(RESTARTS):
            while worker.code is None:
                if await self.committed() >= self.loaded and READY in worker.log:
                    code = await worker.terminate()
                    expect(code == 0, f"a worker that was asked to end gave exit code {code}: {self.tail()}")
                    return
                await asyncio.sleep(POLL_SECONDS)
            expect(worker.code == EXIT_FAILED, f"a worker exited with code {worker.code}: {self.tail()}")
            worker = await self.worker(**changes)
        raise ChaosError(f"a worker was started {RESTARTS} times and did not end well: {self.tail()}")

    def wipe(self) -> None:
        """Delete the RocksDB of every worker of this machine."""
        shutil.rmtree(self.settings.state_path, ignore_errors=True)  # a worker may be killed before it made it

    def stores(self, settings: Settings | None = None) -> list[Path]:
        """The folders of the partitions' RocksDB."""
        found = (settings or self.settings).state_path.glob("*connections*")
        return sorted(path for path in found if path.is_dir())

    async def verify(
        self, *, again: bool = False, cut: bool = False, stores: Sequence[Path] | None = None
    ) -> dict[str, Any]:
        """Let the verifier, a process of its own, compare what the topics hold with the oracle; gives its report.

        `again` allows identical records to come more than once, as after the loss of the changelog; `cut` tells that
        the changelog was cut and RocksDB alone has the whole state.
        """
        plan = self.folder / "plan.json"
        content = {
            "bootstrap": self.kafka.bootstrap,
            "topic_prefix": self.settings.topic_prefix,
            "app_id": self.settings.app_id,
            "partitions": self.settings.partitions,
            "policies": list(self.settings.policies),
            "steps": self.steps,
            "again": again,
            "cut": cut,
            "stores": [str(path) for path in (self.stores() if stores is None else stores)],
        }
        plan.write_text(json.dumps(content, indent=1))
        report: dict[str, Any] = json.loads(await self.run_program("tests.chaos.verifier", plan))
        findings = report.pop("findings")
        self.say("verified: " + ", ".join(f"{value} {name}" for name, value in report.items()))
        if findings:
            shown = "\n  ".join(findings[:20])
            raise ChaosError(f"{len(findings)} findings; plan {plan}, logs {self.folder}/worker-*.log\n  {shown}")
        return report

    def tail(self, lines: int = 10, logs: int = 3) -> str:
        """The last lines of the logs that were written to last, the newest at the end."""
        newest = sorted((worker.log_file for worker in self.workers), key=lambda file: file.stat().st_mtime)[-logs:]
        ends = [(file, file.read_text("utf-8", "replace").splitlines()[-lines:]) for file in newest]
        return "".join(f"\n  {file}{TAIL}\n    " + "\n    ".join(found) for file, found in ends)

    async def close(self) -> None:
        """End what the scenario started and left."""
        for worker in self.workers:
            await worker.kill()
        await self._close_admin()

    async def _close_admin(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            with suppress(Exception):
                async with asyncio.timeout(2):
                    await admin.close()
