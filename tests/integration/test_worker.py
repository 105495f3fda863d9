"""Real workers on a real Kafka write what the pure core gives, each record once, whatever kills them."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from streams.domain.time import iso
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import (
    Collected,
    collect,
    produce_commands,
    produce_feed,
    replay,
    run_workers,
    start_worker,
)
from streams.settings.worker import Settings
from tests.support.feeds import START, UNTIL, make_commands, make_feed
from tests.support.worker_results import SIGKILLED, check, expected


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("seed", "workers"), [(1, 1), (2, 2), (3, 3)])
def test_invariant_1_replay_gives_what_simulate_gives(settings: Settings, seed: int, workers: int) -> None:
    lines, commands = make_feed(seed), make_commands(seed)
    check(asyncio.run(replay(settings, lines, UNTIL, workers, commands=commands)), lines, commands)


async def crash_and_finish(
    settings: Settings, lines: list[bytes], commands: list[bytes], crash_at: str, wipes: bool
) -> Collected:
    await create_topics(settings)
    await produce_feed(settings, lines)
    await produce_commands(settings, commands)
    process = await start_worker(replace(settings, crash_at=crash_at), UNTIL)
    assert await process.wait() == SIGKILLED
    if wipes:
        shutil.rmtree(settings.state_path)
    await run_workers(settings, UNTIL, 1)
    return await collect(settings)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "crash_at",
    [
        "assigned",
        "fenced:2",
        "restored:2",
        "decided:3",
        "begun:3",
        "sent:3",
        "offsets-sent:3",
        "committed:3",
        "stored:4",
    ],
)
def test_invariant_6_a_worker_killed_at_any_point_loses_and_doubles_nothing(settings: Settings, crash_at: str) -> None:
    lines, commands = make_feed(11), make_commands(11)
    found = asyncio.run(crash_and_finish(settings, lines, commands, crash_at, wipes=crash_at == "committed:3"))
    check(found, lines, commands)


@pytest.mark.timeout(120)
def test_a_second_worker_takes_over_from_a_killed_one(settings: Settings) -> None:
    lines = make_feed(12)

    async def scenario() -> Collected:
        await create_topics(settings)
        await produce_feed(settings, lines)
        # Whichever gets the work first is killed while the other one is a member of the group, or joins it.
        workers = [
            await start_worker(replace(settings, crash_at=crash_at, state_dir=settings.state_dir + crash_at), UNTIL)
            for crash_at in ("committed:2", "committed:5")
        ]
        assert SIGKILLED in await asyncio.gather(*(worker.wait() for worker in workers))
        await run_workers(settings, UNTIL, 1)
        return await collect(settings)

    check(asyncio.run(scenario()), lines, [])


@pytest.mark.timeout(120)
def test_invariant_5_a_second_run_over_the_same_input_writes_nothing(settings: Settings) -> None:
    lines = make_feed(13, 200)

    async def scenario() -> tuple[Collected, Collected]:
        first = await replay(settings, lines, UNTIL)
        await run_workers(settings, UNTIL, 1)
        return first, await collect(settings)

    first, second = asyncio.run(scenario())
    assert (len(first.verdicts), len(first.notifications)) == (len(second.verdicts), len(second.notifications))
    assert first.servers == second.servers


@pytest.mark.timeout(120)
def test_poison_goes_whole_to_the_dead_letters_and_the_worker_goes_on(settings: Settings) -> None:
    lines = make_feed(14, 100)
    poison: list[tuple[bytes | None, bytes | None]] = [
        (b"tenant-1", None),
        (b"tenant-1", b""),
        (None, b"\x00"),
        (b"tenant-1", b"\x00\x00\x00\xff\xff" + b"abc"),
        (b"tenant-1", b"\x00\x00\x00\x00\x01" + b"\x80" * 40),
        (b"\xff\xfe", b"\x00\x00\x00\x00\x01"),
        (b"tenant-1", b"\x00\x00\x00\x00\x01" + b"x" * 10_000_000),
    ]

    async def scenario() -> Collected:
        await create_topics(settings)
        producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, max_request_size=20 << 20)
        async with producer:
            for key, value in poison:
                await producer.send_and_wait(settings.topic(TOPICS["inbound_connection"]), value, key=key)
        await produce_feed(settings, lines)
        await run_workers(settings, UNTIL, 1)
        return await collect(settings)

    found = asyncio.run(scenario())
    verdicts, _, _, refused, _ = expected(lines, [])
    assert len(found.verdicts) == len(verdicts)
    assert len(found.dead_letters) == refused + len(poison)
    assert max(len(letter["value"]) for letter in found.dead_letters) == 10_000_005
    assert all(letter["error"] for letter in found.dead_letters)


def with_messages(*messages: dict[str, Any]) -> list[bytes]:
    """Connections of one server each, a minute apart, that differ in `fields` from an ordinary one."""
    return [
        orjson.dumps(
            {
                "event_id": f"m{number}",
                "observed_at": iso(START + number * 60_000),
                "tenant_id": "tenant-1",
                "connector_id": "inbound",
                "connector_type": "ON_PREMISES",
                "source_ip": "192.0.2.7",
                "helo": "h",
                "received": [],
                "outcome": None,
                "recipients": 1,
                **fields,
            }
        )
        for number, fields in enumerate(messages)
    ]


def stamped(host: str, build: str) -> list[str]:
    return [f"from a.example by {host} with Microsoft SMTP Server id {build}; Mon, 1 Jun 2026 00:00:00 +0000"]


@pytest.mark.timeout(120)
def test_a_record_that_has_a_text_of_950_000_characters_stops_no_partition(settings: Settings) -> None:
    settings = replace(settings, partitions=1)
    lines = with_messages(
        {"received": stamped("mx.example.com", "15.1.2106.2")},
        {"received": stamped("mx.example.com", "15.1.2106.13"), "message_id": "x" * 950_000},
        {"received": stamped("mx2.example.com", "15.1.2106.2"), "connector_id": "c" * 950_000},
        {"received": stamped("good.example", "15.1.2106.2"), "tenant_id": "tenant-2"},
    )
    command = {
        "command_id": "c1",
        "tenant_id": "tenant-1",
        "issued_at": iso(START + 90_000),
        "issued_by": "admin",
        "role": "OPERATOR",
        "kind": "EXCEPTION_REVOKE",
        "server": "s" * 950_000,
    }
    found = asyncio.run(replay(settings, lines, UNTIL, commands=[orjson.dumps(command)]))
    assert found.dead_letters == []
    assert {row["server"] for row in found.verdicts if row["stage"] == 8} == {
        *("mx.example.com", "mx2.example.com", "good.example"),
    }
    assert [(row["outcome"], row["reason"][:8]) for row in found.audit] == [("REFUSED", "server: ")]


@pytest.mark.timeout(120)
def test_a_record_that_is_as_large_as_the_broker_takes_is_a_whole_dead_letter(settings: Settings) -> None:
    settings = replace(settings, partitions=1)
    lines = with_messages({"received": stamped("good.example", "15.1.2106.2")})
    topic, headers = settings.topic(TOPICS["inbound_connection"]), [("h", b"x" * 1_000_000)]

    async def scenario() -> tuple[int, list[Any], Collected]:
        await create_topics(settings)
        size, step = 0, 8 << 20
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap, max_request_size=20 << 20) as producer:
            # The largest value that it takes behind these headers, to the byte.
            while step:
                try:
                    await producer.send_and_wait(topic, b"\x00" * (size + step), key=b"tenant-1", headers=headers)
                    size += step
                except MessageSizeTooLargeError:
                    pass
                step //= 2
        await produce_feed(settings, lines)
        await run_workers(settings, UNTIL, 1)
        letters = [record async for record in read_settled(cluster_of(settings), f"{topic}.dlq")]
        return size, letters, await collect(settings)

    size, letters, found = asyncio.run(scenario())
    assert size > 15_000_000
    assert max(len(letter.value) for letter in letters) == size
    for letter in letters:
        assert (letter.key, letter.headers[0]) == (b"tenant-1", headers[0])
        assert "source.size" not in dict(letter.headers)
    assert found.verdicts
