"""Every `tes` command of the pages for operators, run as it is written, against a broker and a live worker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from streams.domain.time import DAY_MS, MINUTE_MS, iso
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.dead_letters import DeadLetterFilter, read_letters
from streams.operations.feeds import produce_feed, start_worker
from streams.settings.worker import Settings
from tests.support.live import POISON, line, now_ms
from tests.support.waiting import until_true

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
TENANT, SERVER = "contoso", "mx1.contoso.com"
_BLOCK = re.compile(r"(?:^ *\n)((?:^ {4,}\S.*\n)+)", re.MULTILINE)


def blocks_of(name: str) -> list[str]:
    """The indented blocks of a page that have a command of `tes`."""
    blocks = _BLOCK.findall((PAGES / name).read_text(encoding="utf-8"))
    return [block for block in blocks if re.search(r"^ {4,}tes ", block, re.MULTILINE)]


def connection(at: int) -> bytes:
    record = json.loads(line(1, at)) | {"tenant_id": TENANT, "helo": SERVER}
    text = record["received"][0].replace("mx1.example.com", SERVER)
    return json.dumps(record | {"received": [text]}).encode()


async def letters(settings: Settings) -> list[tuple[str, str]]:
    return [(letter.position, letter.error) async for letter in read_letters(settings, DeadLetterFilter())]


@asynccontextmanager
async def a_service(settings: Settings) -> AsyncIterator[dict[str, str]]:
    """A worker with a server of contoso's and dead letters; gives what the pages call them and what they are here."""
    await create_topics(settings)
    await produce_feed(settings, [connection(now_ms() - 2 * DAY_MS), connection(now_ms() + 30 * MINUTE_MS)])
    async with cluster_of(settings).producer() as producer:
        for name in ("inbound_connection", "admin_command"):
            await producer.send_and_wait(settings.topic(TOPICS[name]), POISON, key=TENANT.encode())
    worker = await start_worker(replace(settings, tick_seconds=0.2), None)
    try:

        async def are_dead() -> bool:
            return len(await letters(settings)) == 3

        await until_true(are_dead)
        found = [place for place, error in await letters(settings) if "ahead of the clock" not in error]
        named = {place.partition("/")[0]: place for place in found}
        yield {"connections/2/15": named["connections"], "commands/0/3": named["commands"]}
    finally:
        worker.terminate()
        assert await worker.wait() == 0


@pytest.mark.timeout(280)
def test_every_command_works_as_it_is_written(settings: Settings, tmp_path: Path) -> None:
    settings = replace(settings, session_timeout_seconds=6.0)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
    environment |= settings.environment() | {"TES_WEB_PORT": "0"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    # A worker that is started by a page ends when it has read everything.
    environment["TES_REPLAY_UNTIL"] = iso(now_ms())
    environment["TES_REPORT_DIR"] = str(tmp_path / "report")
    count = 0

    def run(page: str, places: dict[str, str]) -> None:
        nonlocal count
        here = {"/backups": str(tmp_path / "backups"), "new.example.com:9092": settings.bootstrap, **places}
        for block in blocks_of(page):
            script = re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], block)
            command = ["bash", "-euo", "pipefail", "-c", script]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == 0, f"{page}: exit code {done.returncode}\n{script}\n{done.stdout}{done.stderr}"
            count += len(re.findall(r"^ +tes ", block, re.MULTILINE))

    async def scenario() -> None:
        async with a_service(settings) as places:
            # A running report has made its tables.
            tables = [sys.executable, "-m", "streams.cli", "report", "rebuild"]
            await asyncio.to_thread(subprocess.run, tables, env=environment, check=True, timeout=120)
            for page in ("report.md", "notify.md", "states.md", "dead-letters.md"):
                await asyncio.to_thread(run, page, places)
        for page in ("backup.md", "partitions.md"):
            await asyncio.to_thread(run, page, {})

    asyncio.run(scenario())
    assert (tmp_path / "value.bin").read_bytes() == POISON
    assert f'"{SERVER}"' in (tmp_path / "states.jsonl").read_text()
    # What another test runs: commands that need other tables or a registry, never end, or write into a home.
    others = {
        "catalogue.md": "test_catalogues.py",
        "command-line.md": "test_emit.py, test_verdicts.py, test_top.py and test_command_line_help.py",
        "debian.md": "test_path.py, whose pages have the same",
        "doctor.md": "test_doctor.py",
        "managed-kafka.md": "test_schemas_command.py",
    }
    pages = [page for page in PAGES.glob("*.md") if page.name not in others]
    assert count == sum(len(re.findall(r"^ {4,}tes ", page.read_text(), re.MULTILINE)) for page in pages)
