"""Every command of the runbooks that needs no Kubernetes, run as it is written, against a broker and a live worker."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.kafka.provisioning import create_topics
from streams.operations.feeds import produce_feed
from streams.settings.worker import Settings
from tests.support.waiting import committed, until_true
from tests.support.worker_site import a_worker, is_well, live_feed

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted((REPOSITORY / "docs/runbooks").glob("Tes*.md"))
TOOLS = ("tes ", "python3 ", "sed ")
_BLOCK = re.compile(r"(?:^ *\n)((?:^ {4,}\S.*\n)+)", re.MULTILINE)


def blocks_of(page: Path) -> Iterator[str]:
    """What the indented blocks hold of commands for this machine."""
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        lines = [line.strip() for line in block.splitlines() if line.strip().startswith(TOOLS)]
        if lines:
            yield "\n".join(lines)


def test_every_command_of_a_page_is_looked_at() -> None:
    shown = sum(len(re.findall(r"^ {4,}tes ", page.read_text("utf-8"), re.MULTILINE)) for page in PAGES)
    run = sum(line.startswith("tes ") for page in PAGES for block in blocks_of(page) for line in block.splitlines())
    assert run == shown > 20


@pytest.mark.timeout(280)
def test_every_command_works_as_it_is_written(settings: Settings, tmp_path: Path) -> None:
    lines = live_feed(200)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
    environment |= settings.environment() | {"TENANT": "tenant-1", "SERVER": "mx1.tenant-1.example"}
    environment["TES_REPORT_DIR"] = str(tmp_path / "report")
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    failed: list[str] = []
    done_already = set[str]()

    def run(page: Path) -> None:
        for block in blocks_of(page):
            if block in done_already:
                continue
            done_already.add(block)
            command = ["bash", "-euo", "pipefail", "-c", block]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
            )
            if done.returncode:
                failed.append(f"{page.name}: exit code {done.returncode}\n{block}\n{done.stdout}{done.stderr}")

    async def scenario() -> None:
        await create_topics(settings)
        await produce_feed(settings, [*lines, b"\x00"])
        async with a_worker(settings) as site:
            await site.until("/readyz", is_well)

            async def is_done() -> bool:
                return await committed(settings) > len(lines)

            await until_true(is_done)
            # A running process that tells people has made its tables.
            tables = [sys.executable, "-m", "streams.cli", "notify", "migrate"]
            await asyncio.to_thread(subprocess.run, tables, env=environment, check=True, timeout=60)
            for page in PAGES:
                await asyncio.to_thread(run, page)

    asyncio.run(scenario())
    assert not failed, "\n\n".join(failed)
