"""A service that is moved to another number of partitions goes on as if nothing had happened."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from streams.kafka.partitioner import kafka_partition
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import existing_partitions
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import Collected, collect, produce_commands, produce_feed, run_workers, start_worker
from streams.operations.group import SIGNS, find_existing, members_of
from streams.operations.repartition.run import ledger_of
from streams.operations.states import export
from streams.settings.worker import Settings
from streams.wire.records import parse_moment
from tests.support.feeds import START, UNTIL, make_commands, make_feed
from tests.support.worker_results import SIGKILLED, check


def moment(line: bytes, name: str = "observed_at") -> int:
    try:
        return parse_moment(name, orjson.loads(line).get(name))
    except ValueError:
        return 0


def in_order(lines: list[bytes]) -> list[bytes]:
    """The feed without late connections: what comes late may depend on what else its partition holds."""
    valid = iter(sorted((line for line in lines if moment(line)), key=moment))
    return [next(valid) if moment(line) else line for line in lines]


def elsewhere(settings: Settings, partitions: int) -> Settings:
    name = uuid.uuid4().hex[:8]
    return replace(settings, app_id=f"tes-{name}", topic_prefix=f"{name}.", partitions=partitions)


async def move(settings: Settings, target: Settings, crash_at: str = "") -> tuple[int, str, str]:
    """Run the command in a process of its own; gives exit code, stdout and stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
    environment |= replace(settings, crash_at=crash_at).environment()
    words = ("--partitions", str(target.partitions), "--to-prefix", target.topic_prefix, "--to-app-id", target.app_id)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams.cli.main", "repartition", *words, "--json"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def half_done(settings: Settings, lines: list[bytes], commands: list[bytes], until: int = UNTIL) -> None:
    """A worker killed amid its work; the clock of a partition that it has worked off goes to `until`."""
    await create_topics(settings)
    await produce_feed(settings, lines)
    await produce_commands(settings, commands)
    worker = await start_worker(replace(settings, crash_at="committed:7"), until)
    assert await worker.wait() == SIGKILLED


async def check_places(settings: Settings) -> int:
    """The number of states, each of which has to be where its tenant's records are."""
    count = 0
    async for row in export(settings):
        if row["row"] != "partition":
            assert row["partition"] == kafka_partition(row["tenant_id"].encode(), settings.partitions)
            count += 1
    return count


@pytest.mark.timeout(250)
@pytest.mark.parametrize(
    ("seed", "after", "crashes", "stragglers"),
    [(41, 6, ("moved:1", "moved:6"), 0), (42, 2, ("moved:3", "moved:12"), 40)],
)
def test_outputs_are_those_of_an_undisturbed_run(
    settings: Settings, seed: int, after: int, crashes: tuple[str, ...], stragglers: int
) -> None:
    lines, commands = make_feed(seed, 1500), make_commands(seed)
    if stragglers:
        lines = in_order(lines)
    else:
        commands = []
    settings = replace(settings, partitions=4)
    target = elsewhere(settings, after)

    async def scenario() -> Collected:
        early = lines[: len(lines) - stragglers]
        last = max(map(moment, early)) if stragglers else UNTIL
        given = [line for line in commands if moment(line, "issued_at") <= last]
        await half_done(settings, early, given, START if stragglers else UNTIL)
        for crash_at in crashes:
            assert (await move(settings, target, crash_at))[0] == SIGKILLED
        code, out, err = await move(settings, target)
        assert code == 0, err
        verified = json.loads(out)["verified"]
        assert 0 < verified["transport.connections.v1"] <= len(lines)
        assert verified["enforcement.verdicts.v1"] > 0
        assert verified["state-changelog"] > 0
        assert SIGNS not in verified
        assert await check_places(target) == await check_places(settings) > 0
        # A producer that was not switched in time; what it wrote is moved by another run.
        await produce_feed(settings, lines[len(early) :])
        await produce_commands(settings, [line for line in commands if line not in given])
        code, out, err = await move(settings, target)
        assert (code, json.loads(out)["was_finished"]) == (0, True), err
        await run_workers(target, UNTIL, 2)
        assert await check_places(target) > 0
        return await collect(target)

    check(asyncio.run(scenario()), lines, commands)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    worker = await start_worker(settings, None)
    try:
        yield
    finally:
        worker.kill()
        await worker.wait()


@pytest.mark.timeout(250)
def test_what_does_not_fit_is_refused_and_the_new_state_stays_closed(settings: Settings, tmp_path: Path) -> None:
    target = elsewhere(settings, 2)

    async def put(topic: str, key: bytes, value: bytes, partition: int) -> None:
        async with cluster_of(settings).producer() as producer:
            await producer.send_and_wait(topic, value, key=key, partition=partition)

    async def refused(to: Settings, *said: str) -> None:
        code, _, err = await move(settings, to)
        assert code == 1
        assert all(text in err for text in said), err

    async def scenario() -> None:
        await half_done(settings, make_feed(43, 1500), make_commands(43))
        await refused(replace(target, topic_prefix=settings.topic_prefix), "is the prefix of the existing topics")
        # More copies than there are brokers: the first topic is refused, and nothing stays.
        code, _, err = await move(replace(settings, replication=3), target)
        assert (code, "InvalidReplicationFactorError" in err) == (1, True), err
        assert await find_existing(target) == {}
        assert not await existing_partitions(cluster_of(target), ledger_of(target))
        used = elsewhere(settings, 3)
        await create_topics(used)
        await put(used.topic(TOPICS["verdict"]), b"k", b"v", 0)
        await refused(used, "holds records 0..0: must be empty")
        assert not await existing_partitions(cluster_of(used), ledger_of(used))
        assert (await move(settings, target, "moved:9"))[0] == SIGKILLED
        with (tmp_path / "log").open("wb") as logs:
            early = await start_worker(target, UNTIL, logs)
            assert await early.wait() == 70
        assert "state format unfinished" in (tmp_path / "log").read_text()
        await refused(replace(target, partitions=5), "exists with 2 partitions")
        # A state where no worker would look for it, and somebody else's record.
        wrong = 1 - kafka_partition(b"tenant-1", 2)
        await put(target.changelog, b"t/tenant-1", b"\x02{}", wrong)
        await refused(target, f"{target.changelog}-{wrong}", "belongs elsewhere")
        await put(target.topic(TOPICS["admin_notification"]), b"tenant-1", b"v", 1 - wrong)
        await refused(target, "enforcement.notifications.v1", "the count differs")
        # The old state must not go on once its move has begun.
        await put(settings.changelog, b"p/progress", b"x", 0)
        await refused(target, "is of another plan or another state")

    asyncio.run(scenario())


@pytest.mark.timeout(150)
def test_running_workers_are_not_moved(settings: Settings) -> None:
    async def scenario() -> tuple[int, str, str]:
        await create_topics(settings)
        async with running(settings):
            async with asyncio.timeout(60):
                while not await members_of(settings):
                    await asyncio.sleep(0.1)
            return await move(settings, elsewhere(settings, 2))

    code, _, err = asyncio.run(scenario())
    assert (code, "stop them first" in err) == (1, True), err
