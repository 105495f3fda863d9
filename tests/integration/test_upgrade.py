"""An installation of the last release becomes this version, worker by worker and under load, and goes back again.

The release is its own wheel (`tests/data/releases`): its workers, its producer, its state in Kafka and on disk.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import pytest

from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kafka.provisioning import create_topics
from streams.operations.feeds import Collected, collect, produce_feed, start_worker
from streams.settings.worker import Settings
from tests.support.live import line, now_ms, until_found

RELEASE = Path(__file__).parents[1] / "data" / "releases" / "tes-0.2.0-py3-none-any.whl"
SERVERS = 24
OLD, NEW, UPGRADED = "15.1.2507.39", "15.2.2562.17", 60
PRODUCE = """
import asyncio, sys
from streams.operations.feeds import produce_feed
from streams.settings.worker import read_settings
asyncio.run(produce_feed(read_settings(), sys.stdin.buffer.read().splitlines()))
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the modules of the last release."""
    folder = tmp_path_factory.mktemp("release")
    with ZipFile(RELEASE) as wheel:
        wheel.extractall(folder)
    return folder


class Released:
    """The last release, as it runs beside this version."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder, settings

    async def run(
        self, *words: str, settings: Settings | None = None, stdin: int | None = None
    ) -> asyncio.subprocess.Process:
        """A process of the release's Python."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
        environment |= (settings or self._settings).environment()
        environment |= {"PYTHONPATH": str(self._folder), "TES_WEB_PORT": "0"}
        return await asyncio.create_subprocess_exec(
            sys.executable, *words, env=environment, cwd=self._folder, stdin=stdin, stdout=sys.stderr
        )

    async def tes(self, *words: str) -> None:
        """A command of the release."""
        assert await (await self.run("-m", "streams.cli", *words)).wait() == 0

    async def produce(self, lines: list[bytes]) -> None:
        """Connections by the schema of the release."""
        process = await self.run("-c", PRODUCE, stdin=asyncio.subprocess.PIPE)
        await process.communicate(b"\n".join(lines))
        assert process.returncode == 0

    async def worker(self, settings: Settings) -> asyncio.subprocess.Process:
        """A worker of the release."""
        return await self.run("-m", "streams.cli", "worker", settings=settings)


def lines_of(begin: int, hours: range) -> list[bytes]:
    """Connections of all servers in some hours; every third server is upgraded half-way."""
    return [
        line(
            server,
            begin + hour * HOUR_MS + server,
            "15.2.2562.17" if server % 3 == 0 and hour >= 60 else "15.1.2507.39",
        )
        for hour in hours
        for server in range(SERVERS)
    ]


async def end(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


@asynccontextmanager
async def ended_at_last(processes: list[asyncio.subprocess.Process]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


def last_seen(found: Collected, begin: int, hour: int) -> bool:
    """Whether all servers have a row that shows an hour or a later one."""
    seen = [row["last_seen_at"] for row in found.servers.values()]
    return len(seen) == SERVERS and min(seen) >= begin + hour * HOUR_MS


@pytest.mark.timeout(400)
def test_a_release_is_upgraded_under_load_and_goes_back(settings: Settings, release: Path, tmp_path: Path) -> None:
    settings = replace(settings, tick_seconds=0.2)
    places = [replace(settings, state_dir=str(tmp_path / f"state-{number}")) for number in range(2)]
    begin = now_ms() - 5 * DAY_MS
    old = Released(release, settings)
    processes: list[asyncio.subprocess.Process] = []

    async def scenario() -> Collected:
        await old.tes("topics", "create")
        workers = [await old.worker(place) for place in places]
        processes.extend(workers)
        await old.produce(lines_of(begin, range(24)))
        await until_found(settings, partial(last_seen, begin=begin, hour=23))
        await create_topics(settings)
        logs = [(tmp_path / f"log-{number}").open("wb") for number in range(2)]
        for number, place in enumerate(places):
            # Mail goes on coming in, from edges of the release.
            until = 48 + 24 * number
            load = asyncio.create_task(old.produce(lines_of(begin, range(until - 24, until))))
            await end(workers[number])
            workers[number] = await start_worker(place, None, logs[number])
            processes.append(workers[number])
            await load
            await until_found(settings, partial(last_seen, begin=begin, hour=until - 1))
        # All workers are new: now producers may be.
        await produce_feed(settings, lines_of(begin, range(72, 96)))
        found = await until_found(settings, partial(last_seen, begin=begin, hour=95))
        for log in logs:
            log.close()
        for number in range(2):
            said = (tmp_path / f"log-{number}").read_text()
            assert "rebuil" not in said
            assert "changelog was" not in said
        await end(workers[0])
        workers[0] = await old.worker(places[0])
        processes.append(workers[0])
        await old.produce(lines_of(begin, range(96, 100)))
        await end(workers[1])
        await until_found(settings, partial(last_seen, begin=begin, hour=99))
        await end(workers[0])
        return found

    async def whole() -> tuple[Collected, Collected]:
        async with ended_at_last(processes):
            before_the_return = await scenario()
            return before_the_return, await collect(settings)

    found, all_found = asyncio.run(whole())
    assert found.dead_letters == all_found.dead_letters == []
    for rows, name in ((all_found.verdicts, "verdict_id"), (all_found.notifications, "notification_id")):
        assert set(Counter(row[name] for row in rows).values()) == {1}
    late = asyncio.run(_from_the_beginning(replace(settings, app_id=f"{settings.app_id}-late"), tmp_path))
    ids = Counter(row["verdict_id"] for row in late.verdicts)
    assert ids == Counter({row["verdict_id"]: 2 for row in all_found.verdicts})
    for one in late.verdicts:
        mine = next(row for row in all_found.verdicts if row["verdict_id"] == one["verdict_id"])
        assert {name: one[name] for name in mine} == mine


async def _from_the_beginning(settings: Settings, tmp_path: Path) -> Collected:
    """A worker of this version decides all of it again, and writes its own beside what is there."""
    await create_topics(settings)
    worker = await start_worker(replace(settings, state_dir=str(tmp_path / "late")), now_ms() + 5 * MINUTE_MS)
    assert await worker.wait() == 0
    return await collect(settings)
