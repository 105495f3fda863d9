"""Logs that no longer fit the state, a registry that is away, and an orderly end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from streams.engine.faust.app import EXIT_FAILED
from streams.kafka.provisioning import create_topics
from streams.kafka.topics import TOPICS
from streams.operations.feeds import Collected, collect, produce_feed, run_workers, start_worker
from streams.settings.worker import Settings
from tests.support.feeds import UNTIL, make_feed
from tests.support.waiting import committed, until_true
from tests.support.worker_results import check, expected


async def work_a_part(settings: Settings, more_than: int) -> int:
    """Let a worker commit some records, end it with SIGTERM, and give its exit code."""
    process = await start_worker(settings, UNTIL)

    async def has_worked() -> bool:
        return await committed(settings) > more_than

    await until_true(has_worked)
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    return await process.wait()


async def on_cluster(settings: Settings, act: Callable[[AIOKafkaAdminClient], object]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        await act(admin)  # type: ignore[misc]
    finally:
        await admin.close()


@pytest.mark.timeout(120)
def test_a_worker_that_is_told_to_end_finishes_its_unit_and_exits_with_0(settings: Settings) -> None:
    lines = make_feed(31, 3000)
    small = replace(settings, batch_records=20)

    async def scenario() -> tuple[int, Collected]:
        await create_topics(small)
        await produce_feed(small, lines)
        code = await work_a_part(small, 40)
        await run_workers(small, UNTIL, 1)
        return code, await collect(small)

    code, found = asyncio.run(scenario())
    assert code == 0
    check(found, lines, [])


@pytest.mark.timeout(120)
def test_records_that_are_gone_before_they_were_read_stop_the_worker(settings: Settings) -> None:
    lines = make_feed(32, 300)
    source = settings.topic(TOPICS["inbound_connection"])

    async def scenario() -> tuple[int, int]:
        await create_topics(settings)
        await produce_feed(settings, lines)
        await run_workers(settings, UNTIL, 1)
        before = await committed(settings)
        await produce_feed(settings, make_feed(33, 300))
        await on_cluster(
            settings,
            lambda admin: admin.delete_records(
                {TopicPartition(source, partition): RecordsToDelete(before_offset=-1) for partition in range(3)}
            ),
        )
        refused = await (await start_worker(settings, UNTIL)).wait()
        assert await committed(settings) == before
        accepted = await (await start_worker(replace(settings, accept_gaps=True), UNTIL)).wait()
        return refused, accepted

    assert asyncio.run(scenario()) == (EXIT_FAILED, 0)


@pytest.mark.timeout(120)
def test_a_state_whose_changelog_was_deleted_is_built_again_from_the_source(settings: Settings) -> None:
    lines = make_feed(34, 300)

    async def scenario() -> tuple[Collected, list[str]]:
        await create_topics(settings)
        await produce_feed(settings, lines)
        await run_workers(settings, UNTIL, 1)
        once = [row["verdict_id"] for row in (await collect(settings)).verdicts]
        await on_cluster(settings, lambda admin: admin.delete_topics([settings.changelog]))

        async def is_created_again() -> bool:
            return settings.changelog in await create_topics(settings)

        await until_true(is_created_again)
        await run_workers(settings, UNTIL, 1)
        return await collect(settings), once

    found, once = asyncio.run(scenario())
    _, _, servers, _, _ = expected(lines, [])
    assert sorted(row["verdict_id"] for row in found.verdicts) == sorted(once * 2)
    assert sorted(found.servers.values(), key=lambda row: (row["tenant_id"], row["server"])) == servers


@pytest.mark.timeout(120)
def test_a_registry_that_is_away_stops_the_worker_and_makes_no_dead_letters(settings: Settings) -> None:
    lines = make_feed(35, 60)

    async def scenario() -> tuple[int, Collected]:
        await create_topics(settings)
        await produce_feed(settings, lines)
        away = replace(settings, schema_registry_url="http://127.0.0.1:9")
        code = await (await start_worker(away, UNTIL)).wait()
        return code, await collect(settings)

    code, found = asyncio.run(scenario())
    assert code == EXIT_FAILED
    assert (found.dead_letters, found.verdicts) == ([], [])
