"""Dead letters on a real Kafka: listed, shown, replayed once, discarded with a reason."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import replace
from typing import Any

import pytest

from streams.domain.time import MINUTE_MS
from streams.kafka.batch_producer import FencedError
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import DEAD_LETTER_LOG, TOPICS
from streams.operations.dead_letters import REPLAY_OF, DeadLetterFilter, DispositionKind, handle
from streams.operations.feeds import collect, produce_feed, run_workers, start_worker
from streams.settings.worker import Settings
from tests.support.live import POISON, line, now_ms, until_found

HEADERS = [("traceparent", b"00-1"), ("error", b"of the sender")]


async def dead(settings: Settings, early: int) -> None:
    """A worker makes a dead letter of a connection from the future, and of a record that is none."""
    await create_topics(settings)
    await produce_feed(settings, [line(1, early)])
    async with cluster_of(settings).producer() as producer:
        topic = settings.topic(TOPICS["inbound_connection"])
        await producer.send_and_wait(topic, POISON, key=b"tenant-2", headers=HEADERS)
        await producer.send_and_wait(settings.topic(TOPICS["admin_command"]), b"", key=None)
    worker = await start_worker(replace(settings, tick_seconds=0.2), None)
    try:
        await until_found(settings, lambda found: len(found.dead_letters) == 3)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0


async def inputs(settings: Settings) -> list[Any]:
    return [record async for record in read_settled(cluster_of(settings), settings.topic(TOPICS["inbound_connection"]))]


def listed(tes: Any, *words: str) -> list[dict[str, Any]]:
    code, out, _ = tes("dlq", "list", "--jsonl", *words)
    assert code == 0
    return [json.loads(row) for row in out.splitlines()]


@pytest.mark.timeout(150)
def test_a_letter_is_listed_shown_and_replayed_once(settings: Settings, tes: Any) -> None:
    early = now_ms() + 30 * MINUTE_MS
    asyncio.run(dead(settings, early))
    assert len(listed(tes)) == 3
    (ahead,) = listed(tes, "--tenant", "tenant-1", "--error", "OBSERVED_AT")
    (poison,) = listed(tes, "--tenant", "tenant-2")
    (command,) = listed(tes, "--input", "commands")
    assert command["letter"].startswith("commands/")
    assert listed(tes, "--since", "2999-01-01") == []
    assert poison["headers"] == {name: text.decode() for name, text in HEADERS}
    code, out, _ = tes("dlq", "show", ahead["letter"])
    assert code == 0
    assert "with Microsoft SMTP Server id 15.1.2507.39" in out
    code, out, _ = tes("dlq", "show", poison["letter"], "--json")
    assert json.loads(out)["record"] is None
    assert "more than 64 bits" in json.loads(out)["not_decoded"]

    code, out, _ = tes("dlq", "redrive", "--tenant", "tenant-1", "--dry-run")
    assert (code, "would be REPLAYED" in out) == (0, True)
    assert len(asyncio.run(inputs(settings))) == 2
    assert tes("dlq", "redrive", ahead["letter"])[0] == 0
    code, out, _ = tes("dlq", "redrive", ahead["letter"])
    assert (code, "is already REPLAYED" in out) == (3, True)
    assert tes("dlq", "discard", poison["letter"], "--reason", "no record at all", "--by", "ops")[0] == 0
    assert [row["letter"] for row in listed(tes)] == [command["letter"]]
    handled = {row["letter"]: row["handled"] for row in listed(tes, "--handled")}
    assert handled[ahead["letter"]]["action"] == "REPLAYED"
    assert handled[poison["letter"]]["reason"] == "no record at all"
    assert handled[poison["letter"]]["by"] == "ops"

    original, again = sorted(
        (record for record in asyncio.run(inputs(settings)) if record.key == b"tenant-1"), key=lambda one: one.offset
    )
    assert (again.partition, again.key, again.value) == (original.partition, original.key, original.value)
    assert dict(again.headers) == dict(original.headers) | {REPLAY_OF: ahead["letter"].encode()}
    asyncio.run(run_workers(settings, early, 1))
    found = asyncio.run(collect(settings))
    assert {row["server"] for row in found.verdicts} == {"mx1.example.com"}
    assert len(found.dead_letters) == 3


@pytest.mark.timeout(150)
def test_two_operators_at_once_replay_no_letter_twice(settings: Settings) -> None:
    asyncio.run(dead(settings, now_ms() + 30 * MINUTE_MS))

    async def both() -> list[Any]:
        replays = (handle(settings, DeadLetterFilter(), DispositionKind.REPLAYED, "ops") for _ in range(2))
        return await asyncio.gather(*replays, return_exceptions=True)

    results = asyncio.run(both())
    assert all(isinstance(result, FencedError) for result in results if isinstance(result, BaseException)), results
    asyncio.run(handle(settings, DeadLetterFilter(), DispositionKind.REPLAYED, "ops"))
    replayed = [dict(record.headers)[REPLAY_OF] for record in asyncio.run(inputs(settings)) if record.offset]
    assert len(replayed) == len(set(replayed)) == 2


@pytest.mark.timeout(150)
def test_a_letter_that_holds_the_same_record_again_is_no_other(settings: Settings) -> None:
    """A state that is built again from its input makes the same letters again."""

    async def scenario() -> None:
        await dead(settings, now_ms() + 30 * MINUTE_MS)
        topic = settings.topic(TOPICS["inbound_connection"]) + ".dlq"
        letters = [record async for record in read_settled(cluster_of(settings), topic)]
        async with cluster_of(settings).producer() as producer:
            for record in letters:
                await producer.send_and_wait(topic, record.value, key=record.key, headers=list(record.headers))
        outcome = await handle(settings, DeadLetterFilter(inputs=("connections",)), DispositionKind.REPLAYED, "ops")
        assert (len(outcome.done), [why for _, why in outcome.refused]) == (
            2,
            ["holds the same record as an earlier letter"] * 2,
        )
        assert len(await inputs(settings)) == 4
        rows = [row.key async for row in read_settled(cluster_of(settings), settings.topic(DEAD_LETTER_LOG))]
        assert len(rows) == 2

    asyncio.run(scenario())


def test_wrong_usage_and_unknown_letters_are_named(settings: Settings, tes: Any) -> None:
    asyncio.run(create_topics(settings))
    for words, said in (
        (("redrive",), "exactly one of these"),
        (("redrive", "--all", "--tenant", "t"), "exactly one of these"),
        (("redrive", "connections/0/0"), "letter: connections/0/0: does not exist"),
        (("show", "connections/9/9"), "does not exist"),
        (("discard", "mail/0/0", "--reason", "x"), "must be INPUT/PARTITION/OFFSET"),
    ):
        code, _, err = tes("dlq", *words)
        assert (code, said in err) == (2, True), err
