"""A worker's log for people: one line when it is ready, and of its libraries only what warns."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streams.kafka.provisioning import create_topics
from streams.settings.worker import Settings
from tests.support.waiting import until_true


async def life(settings: Settings, file: Path, *words: str) -> list[str]:
    """The lines of a worker from its start until it is ready and told to end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
    with file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "worker", *words],
            env=environment | settings.environment() | {"TES_WEB_PORT": "0"},
            stderr=log,
        )
    try:

        async def is_ready() -> bool:
            assert process.poll() is None, file.read_text()
            return "policy in force" in file.read_text() and "worker ready" in file.read_text()

        await until_true(is_ready)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0
    finally:
        process.kill()
    return file.read_text().splitlines()


def of_libraries(lines: list[str]) -> list[str]:
    return [line for line in lines if re.match(r"\S+ INFO (?:(?!streams\.)|\S+: \[\^)", line)]


@pytest.mark.timeout(120)
def test_a_start_is_a_few_lines_and_one_says_that_it_is_done(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(create_topics(settings))
    lines = asyncio.run(life(settings, tmp_path / "log"))
    ready = [line for line in lines if "worker ready" in line]
    assert len(ready) == 1
    source = settings.topic("transport.connections.v1")
    assert ready[0].endswith(f"worker ready: partitions {list(range(settings.partitions))} of {source}")
    assert of_libraries(lines) == []
    assert len(lines) < 10 + 3 * settings.partitions


@pytest.mark.timeout(120)
def test_a_verbose_start_has_the_lines_of_libraries(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(create_topics(settings))
    lines = asyncio.run(life(settings, tmp_path / "log", "-v"))
    names = {line.split()[2].split(".")[0] for line in lines if " INFO " in line}
    assert names >= {"aiokafka", "faust", "streams"}
    assert len(of_libraries(lines)) > 20
