"""One run of a scenario of the edge: its processes, the load, and the verification at the end."""

from __future__ import annotations

import asyncio
import itertools
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from streams.edge.store.database import SPOOL_FILE, VERDICTS_FILE
from streams.kafka.provisioning import create_topics
from streams.settings.edge import ENFORCE, EdgeSettings
from tests.chaos.edge.log import Sent, Span, read_log
from tests.chaos.edge.population import senders, verdict_records
from tests.chaos.edge.service import Service, now_ms
from tests.chaos.edge.spool import events_waiting, has_dropped, refused_left
from tests.chaos.lifetime import Lifetime
from tests.chaos.process import KILLED, Process, launch
from tests.chaos.trial import ChaosError, Trial, expect
from tests.support.ports import free_port

HOST: Final = "edge1"
PER_SECOND: Final = 200.0
PROBE_MINUTES: Final = 0.1
"""So short that clients are answered at MAIL and seen in full again several times."""
FOREVER: Final = 1 << 60
POLL_SECONDS: Final = 0.05


class EdgeTrial:
    """A door, sync, the worker's part and an MTA; each may be ended and begun again."""

    def __init__(self, trial: Trial, folder: Path, **changes: Any) -> None:
        """Run in a folder of its own; `changes` are settings of the edge."""
        self.trial, self.folder = trial, folder
        self._spool = folder / SPOOL_FILE
        self.settings = EdgeSettings(
            bootstrap=trial.kafka.bootstrap,
            topic_prefix=trial.settings.topic_prefix,
            directory=str(folder),
            mode=ENFORCE,
            milter=f"unix:{folder}/milter.sock",
            probe_minutes=PROBE_MINUTES,
            host=HOST,
            door_port=free_port(),
            sync_port=free_port(),
        )
        self.settings = replace(self.settings, **changes)
        self.service = Service(trial.settings, folder / VERDICTS_FILE)
        self.door: Process | None = None
        self.sync: Process | None = None
        self.dead: list[Span] = []
        self.excused: list[Span] = []
        self.lossy: list[Span] = []
        self.dropped: tuple[int, int] = (0, 0)
        self._begun = now_ms()
        self._life: Lifetime | None = None
        self._excused_since: int | None = None
        self._numbers = itertools.count()
        self._mta: Process | None = None
        self._stalls = trial.folder / "stalls.jsonl"
        self._logs: list[Path] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._processes: list[Process] = []

    async def begin(self, per_second: float = PER_SECOND) -> None:
        """Start all of it, with a verdict about each server that has one, and wait until they are enforced."""
        await create_topics(self.trial.settings)
        self._tasks.append(asyncio.create_task(self.service.run()))
        await self.service.write(verdict_records())
        await self.start_door()
        await self.start_sync()
        measuring, log_file = (str(self.folder / "stalls"), str(self._stalls)), self.trial.folder / "stalls.log"
        program = await launch(("-m", "tests.chaos.edge.stalls", *measuring), log_file, {})
        self._processes.append(Process(program, log_file))
        await self.until_confirmed()
        await self.load(per_second)

    async def start_door(self, crash_at: str = "") -> Process:
        """Start a door, and wait until it listens."""
        dead_since, now = self._lived_until(), now_ms()
        self.door = door = await self._launch("door", crash_at)
        self._life = Lifetime(door.pid, now)
        await self.trial.until(
            lambda: door.code is not None or _listens(self.folder / "milter.sock"), "a listening door"
        )
        self.dead.append(Span(dead_since, now_ms()))
        return door

    def _lived_until(self) -> int:
        """When a door lived last, for certain."""
        return self._begun if self._life is None else self._life.alive_at

    async def start_sync(self, crash_at: str = "") -> Process:
        """Start sync."""
        self.sync = await self._launch("sync", crash_at)
        return self.sync

    async def kill_door(self) -> None:
        """End the door as a crash would."""
        assert self.door is not None
        await self.door.kill()

    async def kill_sync(self) -> None:
        """End sync as a crash would."""
        assert self.sync is not None
        await self.sync.kill()

    async def until_confirmed(self) -> None:
        """Wait until the edge has all verdicts, confirmed from now on."""
        now = now_ms()
        service = self.service
        await self.trial.until(
            lambda: service.are_all_seen and (service.confirmed_at or 0) >= now, "the confirmation of all verdicts"
        )
        if self._excused_since is not None:
            self.excused.append(Span(self._excused_since, now_ms()))
        self._excused_since = None

    def excuse(self) -> None:
        """From now until the next confirmation there is something wrong with the verdicts on disk."""
        self._excused_since = self._excused_since or now_ms()

    def remove_verdicts(self) -> None:
        """Delete the verdicts on disk."""
        self.excuse()
        for file in self.files(VERDICTS_FILE):
            file.unlink(missing_ok=True)

    def files(self, name: str) -> list[Path]:
        """A file of the edge with those that SQLite keeps beside it."""
        return [self.folder / f"{name}{end}" for end in ("-wal", "-shm", "")]

    async def load(self, per_second: float = PER_SECOND) -> None:
        """Let the MTA send from now on."""
        number = next(self._numbers)
        log, file = self.trial.folder / f"mta-{number}.jsonl", self.trial.folder / f"mta-{number}.json"
        seed = f"{self.trial.seed}:{self.trial.name}:{number}"
        given = {"socket": f"{self.folder}/milter.sock", "per_second": per_second, "seed": seed, "log": str(log)}
        file.write_text(json.dumps(given))
        self._logs.append(log)
        log_file = self.trial.folder / f"mta-{number}.log"
        process = await launch(("-m", "tests.chaos.edge.mta", str(file)), log_file, {})
        self._mta = Process(process, log_file)

    async def end_load(self) -> None:
        """Let the MTA end."""
        if self._mta is not None:
            code = await self._mta.terminate()
            expect(code == 0, f"the MTA ended with {code}: {self._mta.log[-2000:]}")
        self._mta = None

    def answered(self, since: int = 0) -> list[Sent]:
        """The messages that were sent since a moment and answered so far."""
        found = [item for log in self._logs if log.exists() for item in read_log(log)]
        return [item for item in found if item.sent_at >= since and item.moment is not None]

    async def until_answered(self, count: int, code: str | None, kind: str = "") -> None:
        """Wait for so many answers from now on to servers of a kind that begin with a code; None accepts."""
        begun = now_ms()
        keys = {sender.key for sender in senders() if sender.kind.startswith(kind)}

        def are_there() -> bool:
            found = [item.reply for item in self.answered(begun) if item.key in keys]
            return sum(reply is None if code is None else (reply or "").startswith(code) for reply in found) >= count

        await self.trial.until(are_there, f"{count} answers of {code or 'acceptance'} to {kind or 'any'}")

    async def until_enforced(self) -> None:
        """Wait until mail is accepted, delayed and refused from now on."""
        for code in (None, "450", "550"):
            await self.until_answered(5, code)

    def has_dropped(self) -> bool:
        """Whether events were given up for newer ones."""
        return has_dropped(self._spool)

    async def until_told(self) -> None:
        """Wait until Kafka has all events."""
        await self.trial.until(lambda: events_waiting(self._spool) == 0, "an empty spool")

    async def metrics(self, port: int) -> dict[tuple[str, ...], float]:
        """What a process shows of itself: name of the metric and values of its labels."""

        def ask() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                return str(answer.read().decode())

        families = text_string_to_metric_families(await asyncio.to_thread(ask))
        return {(row.name, *row.labels.values()): row.value for family in families for row in family.samples}

    async def given_up(self, *reasons: str) -> int:
        """How many events the door has given up, by its counters."""
        shown = await self.metrics(self.settings.door_port)
        wanted = reasons or ("uneventful", "eventful", "unstored")
        return int(sum(shown.get(("tes_edge_events_dropped_total", reason), 0) for reason in wanted))

    async def finish(self) -> dict[str, int]:
        """End the load, wait until Kafka has all events, and verify; gives the verifier's counts."""
        for one in self._processes:
            expect(one.code in (None, KILLED), f"it ended by itself with {one.code}: {one.log_file}: {one.log[-2000:]}")
        await self.end_load()
        await self.until_told()
        return await self._verify()

    async def _verify(self) -> dict[str, int]:
        is_dead = self.door is None or self.door.code is not None
        dead = [*self.dead, *([Span(self._lived_until(), FOREVER)] if is_dead else [])]
        limits = self.settings.limits
        plan = {
            "bootstrap": self.trial.kafka.bootstrap,
            "topic_prefix": self.trial.settings.topic_prefix,
            "partitions": self.trial.settings.partitions,
            "host": HOST,
            "limits": (limits.block_max_age, limits.table_max_age),
            "stalls": str(self._stalls),
            "logs": [str(log) for log in self._logs],
            "written": self.service.written,
            "samples": self.service.samples,
            "dead": dead,
            "excused": self.excused,
            "lossy": self.lossy,
            "dropped": self.dropped,
            "refused_left": await self._refused_left(),
        }
        file = self.trial.folder / "edge-plan.json"
        file.write_text(json.dumps(plan))
        report: dict[str, Any] = json.loads(await self.trial.run_program("tests.chaos.edge.evidence", file))
        findings = report.pop("findings")
        self.trial.say("verified: " + ", ".join(f"{value} {name}" for name, value in report.items()))
        if findings:
            shown = "\n  ".join(findings[:20])
            raise ChaosError(f"{len(findings)} findings; plan {file}, logs {self.trial.folder}/*.log\n  {shown}")
        return report

    async def _refused_left(self) -> dict[str, int]:
        found: dict[str, int] | None = None

        def is_read() -> bool:
            nonlocal found
            found = refused_left(self._spool)
            return found is not None

        await self.trial.until(is_read, "a spool that can be read")
        return found or {}

    async def _launch(self, word: str, crash_at: str) -> Process:
        log_file = self.trial.folder / f"{word}-{next(self._numbers):03}.log"
        settings = replace(self.settings, crash_at=crash_at).environment()
        process = Process(await launch(("-m", "streams.cli.main", "edge", word), log_file, settings), log_file)
        self._processes.append(process)
        return process

    async def close(self) -> None:
        """End what runs."""
        for process in (*self._processes, *([self._mta] if self._mta else [])):
            await process.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def edge_of(trial: Trial, folder: Path | None = None, **changes: Any) -> AsyncIterator[EdgeTrial]:
    """An edge for a scenario, ended behind it."""
    edge = EdgeTrial(trial, folder or trial.folder / "edge", **changes)
    try:
        yield edge
    finally:
        await edge.close()


def _listens(socket: Path) -> bool:
    """Whether somebody takes connections there."""
    import socket as sockets

    with sockets.socket(sockets.AF_UNIX) as trying:
        trying.settimeout(1)
        try:
            trying.connect(str(socket))
        except OSError:
            return False
    return True
