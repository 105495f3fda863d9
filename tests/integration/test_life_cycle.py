"""A worker that is told to end: what it finishes, what it leaves, and that it ends whenever it is told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.engine.faust.app import EXIT_FAILED
from streams.kafka.provisioning import create_topics
from streams.operations.feeds import collect, produce_feed, run_workers, start_worker
from streams.settings.worker import Settings
from tests.support.feeds import UNTIL, make_feed
from tests.support.waiting import committed, committed_offsets, until_true
from tests.support.worker_results import check

GRACE_SECONDS = 30.0
"""What Kubernetes gives by default."""
WATCHED, CLOSED_BY_ANOTHER = "connections are watched", "a connection is closed by another thread than its own"
SLOW_AND_WATCHED = f"""
import asyncio
from aiokafka.conn import AIOKafkaConnection
from streams.engine.partition.task import PartitionWriter

close, stop = AIOKafkaConnection.close, PartitionWriter.stop

def watched(connection, *args, **kwargs):
    if asyncio.get_running_loop() is not connection._loop:
        print({CLOSED_BY_ANOTHER!r}, flush=True)
    return close(connection, *args, **kwargs)

async def slow(writer):
    await asyncio.sleep(6)
    await stop(writer)

AIOKafkaConnection.close, PartitionWriter.stop = watched, slow
print({WATCHED!r}, flush=True)
"""
"""Python reads it at its start. What is closed beside its loop crashes the process, but only now and then."""


async def members(settings: Settings) -> list[Any]:
    """The members of the group, as its coordinator knows them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        (response,) = await admin.describe_consumer_groups([settings.app_id])
        return list(response.groups[0][5])
    finally:
        await admin.close()


def events(file: Path) -> list[str]:
    """The events of a log, as far as it is written."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n") and line.startswith("{"):
            found.append(json.loads(line)["event"])
    return found


async def ended(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(GRACE_SECONDS):
        return await process.wait()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("instance_id", ["", "worker-0"])
def test_it_commits_what_is_in_work_and_leaves_the_group_unless_it_comes_back_under_its_name(
    settings: Settings, tmp_path: Path, instance_id: str
) -> None:
    # A worker takes thousands a second: there must be more than it does while the test looks how far it is.
    lines, file = make_feed(61, 10_000), tmp_path / "log"
    small = replace(settings, batch_records=20, instance_id=instance_id, log_format="json")

    async def scenario() -> int:
        await create_topics(small)
        await produce_feed(small, lines)
        with file.open("wb") as logs:
            process = await start_worker(small, UNTIL, logs)

            async def is_amid_work() -> bool:
                return await committed(small) > 40 and len(await members(small)) == 1

            await until_true(is_amid_work)
            process.send_signal(signal.SIGTERM)
            code = await ended(process)
        assert len(await members(small)) == (1 if instance_id else 0)
        assert await committed(small) < len(lines)
        await run_workers(small, UNTIL, 1)
        check(await collect(small), lines, [])
        return code

    assert asyncio.run(scenario()) == 0
    names = events(file)
    assert names.index("worker_draining") < names.index("partitions_released") < names.index("worker_ended")
    assert "worker_failed" not in names


@pytest.mark.timeout(120)
@pytest.mark.parametrize("moment", ["worker_started", "policies_loaded", "partitions_assigned", "partition_fenced"])
def test_it_ends_in_time_whenever_it_is_told(settings: Settings, tmp_path: Path, moment: str) -> None:
    lines, file = make_feed(62, 200), tmp_path / "log"
    told = replace(settings, log_format="json")

    async def scenario() -> int:
        await create_topics(told)
        await produce_feed(told, lines)
        with file.open("wb") as logs:
            process = await start_worker(told, UNTIL, logs)

            async def is_there() -> bool:
                return moment in events(file)

            await until_true(is_there)
            process.send_signal(signal.SIGTERM)
            code = await ended(process)
        await run_workers(settings, UNTIL, 1)
        check(await collect(settings), lines, [])
        return code

    # Before it handles signals nothing is in work, and the signal ends it as it ends any process.
    assert asyncio.run(scenario()) in (0, -signal.SIGTERM)
    assert "worker_failed" not in events(file)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("later", [0.0, 0.02, 0.05])
def test_it_ends_in_order_when_it_is_told_amid_a_rebalance(settings: Settings, tmp_path: Path, later: float) -> None:
    told = replace(settings, log_format="json")
    files = tmp_path / "first.log", tmp_path / "second.log"

    async def scenario() -> list[int]:
        await create_topics(told)
        with files[0].open("wb") as first_log, files[1].open("wb") as second_log:
            first = await start_worker(told, None, first_log)

            async def is_at_work() -> bool:
                return "partition_fenced" in events(files[0])

            await until_true(is_at_work)
            second = await start_worker(replace(told, state_dir=f"{told.state_dir}-second"), None, second_log)

            async def has_joined() -> bool:
                return "partitions_assigned" in events(files[1])

            await until_true(has_joined)
            second.send_signal(signal.SIGTERM)
            await asyncio.sleep(later)
            first.send_signal(signal.SIGTERM)
            return [await ended(first), await ended(second)]

    assert asyncio.run(scenario()) == [0, 0]
    assert all("worker_failed" not in events(file) for file in files)


@pytest.mark.timeout(120)
def test_its_connections_are_closed_by_their_own_thread_when_others_leave_while_it_ends(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = replace(settings, log_format="json", session_timeout_seconds=6.0)
    files = tmp_path / "slow.log", tmp_path / "other.log"
    (tmp_path / "sitecustomize.py").write_text(SLOW_AND_WATCHED)

    async def scenario() -> list[int]:
        await create_topics(told)
        with files[0].open("wb") as slow_log, files[1].open("wb") as other_log:
            with monkeypatch.context() as patch:
                patch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
                patch.setenv("PYTHONASYNCIODEBUG", "1")  # loops refuse most of what comes from another thread
                slow = await start_worker(told, None, slow_log)
            other = await start_worker(replace(told, state_dir=f"{told.state_dir}-other"), None, other_log)

            async def are_both_at_work() -> bool:
                return all("partition_fenced" in events(file) for file in files)

            await until_true(are_both_at_work)
            slow.send_signal(signal.SIGTERM)
            other.send_signal(signal.SIGTERM)
            return [await ended(slow), await ended(other)]

    assert asyncio.run(scenario()) == [0, 0]
    log = files[0].read_text(encoding="utf-8")
    assert "because it is rebalancing" in log.partition("worker_draining")[2]
    assert WATCHED in log
    assert CLOSED_BY_ANOTHER not in log


@pytest.mark.timeout(120)
def test_it_ends_in_order_however_often_it_is_told(settings: Settings, tmp_path: Path) -> None:
    told, file = replace(settings, log_format="json"), tmp_path / "log"

    async def scenario() -> int:
        await create_topics(told)
        with file.open("wb") as log:
            process = await start_worker(told, None, log)

            async def is_at_work() -> bool:
                return "partition_fenced" in events(file)

            await until_true(is_at_work)
            # Until it is gone: the interpreter, too, takes a while to end.
            while process.returncode is None:
                with suppress(ProcessLookupError):
                    # The process object's own way reaps it first, and takes its exit code from whoever waits for it.
                    os.kill(process.pid, signal.SIGTERM)
                await asyncio.sleep(0.002)
            return process.returncode

    assert asyncio.run(scenario()) == 0
    assert events(file).count("worker_draining") == events(file).count("worker_ended") == 1


@pytest.mark.timeout(180)
def test_it_ends_though_no_broker_answers(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "log"

    async def scenario() -> int:
        with EmbeddedKafka(tmp_path / "kafka", jars_dir=ensure_jars()) as kafka:
            told = replace(settings, bootstrap=kafka.bootstrap, log_format="json", session_timeout_seconds=6.0)
            await create_topics(told)
            with file.open("wb") as logs:
                process = await start_worker(told, None, logs)

            async def is_at_work() -> bool:
                return events(file).count("partition_restored") == told.partitions

            await until_true(is_at_work)
        process.send_signal(signal.SIGTERM)
        return await ended(process)

    assert asyncio.run(scenario()) in (0, EXIT_FAILED)
    assert "worker_draining" in events(file)


@pytest.mark.timeout(120)
def test_no_partition_waits_for_another_one_to_end(settings: Settings) -> None:
    few, count = replace(settings, partitions=2, batch_records=10), 20_000

    async def scenario() -> tuple[list[int], int]:
        await create_topics(few)
        await produce_feed(few, make_feed(63, count))
        process = await start_worker(few, UNTIL)

        async def is_amid_work() -> bool:
            # Not at the first commit: the first fetch of one partition may come a hundred records after the other's.
            return await committed(few) > 600

        await until_true(is_amid_work)
        process.send_signal(signal.SIGTERM)
        code = await ended(process)
        return await committed_offsets(few), code

    offsets, code = asyncio.run(scenario())
    assert code == 0
    # A worker that ends commits what it has taken: from both about the same.
    assert len(offsets) == 2
    assert sum(offsets) < count, "the work was over before the end"
    assert min(offsets) > sum(offsets) / 4
