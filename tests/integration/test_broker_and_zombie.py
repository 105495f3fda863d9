"""A broker that is killed and comes back, and a worker that is stopped until others have its partitions."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.kafka.provisioning import create_topics
from streams.operations.feeds import Collected, collect, produce_feed, run_workers, start_worker
from streams.settings.worker import Settings
from tests.support.feeds import UNTIL, make_feed
from tests.support.waiting import committed, until_true
from tests.support.worker_results import check


async def wait_or_restart(settings: Settings, process: asyncio.subprocess.Process) -> None:
    """What a supervisor does: start the worker again until it ends well."""
    code = await process.wait()
    while code != 0:
        process = await start_worker(settings, UNTIL)
        code = await process.wait()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_broker_that_goes_and_comes_back_costs_nothing(tmp_path: Path, how: str) -> None:
    lines = make_feed(21, 1500)
    with EmbeddedKafka(tmp_path / "kafka", jars_dir=ensure_jars()) as kafka:
        settings = Settings(
            bootstrap=kafka.bootstrap,
            app_id="tes-broker",
            partitions=2,
            state_dir=str(tmp_path / "state"),
            session_timeout_seconds=6.0,
            batch_records=20,
            gather_seconds=0.05,
        )

        async def scenario() -> Collected:
            await create_topics(settings)
            await produce_feed(settings, lines)
            process = await start_worker(settings, UNTIL)

            async def has_begun() -> bool:
                return await committed(settings) > 100

            await until_true(has_begun)
            getattr(kafka, how)()
            kafka.restart()
            await wait_or_restart(settings, process)
            return await collect(settings)

        check(asyncio.run(scenario()), lines, [])


@pytest.mark.timeout(200)
def test_a_zombie_changes_nothing(settings: Settings) -> None:
    lines = make_feed(22, 1500)
    small = replace(settings, batch_records=20)

    async def scenario() -> tuple[Collected, Collected]:
        await create_topics(small)
        await produce_feed(small, lines)
        zombie = await start_worker(small, UNTIL)

        async def has_begun() -> bool:
            return await committed(small) > 100

        await until_true(has_begun)
        os.kill(zombie.pid, signal.SIGSTOP)
        await run_workers(replace(small, state_dir=small.state_dir + "-2"), UNTIL, 1)
        before = await collect(small)
        os.kill(zombie.pid, signal.SIGCONT)
        await zombie.wait()
        await run_workers(replace(small, state_dir=small.state_dir + "-2"), UNTIL, 1)
        return before, await collect(small)

    before, after = asyncio.run(scenario())
    check(before, lines, [])
    check(after, lines, [])
