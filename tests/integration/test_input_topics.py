"""The broker bounds what producers compressed, a worker does where it does not, and topics that differ are told."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import MessageSizeTooLargeError, UnknownTopicOrPartitionError
from aiokafka.protocol.metadata import MetadataRequest

from streams.engine.dead_letters import BATCH
from streams.kafka.cluster import Admin
from streams.kafka.partitioner import kafka_partition
from streams.kafka.provisioning import MAX_INPUT_BYTES, create_topics
from streams.kafka.reader import existing_partitions
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import produce_feed, start_worker
from streams.operations.group import named_topics
from streams.settings.worker import Settings
from tests.support.live import line, now_ms, until_found

BOMB_BYTES = 200 << 20
INPUTS = (TOPICS["inbound_connection"], TOPICS["admin_command"])
STEADY, HOSTILE = "tenant-1", "tenant-2"


async def create_permissive(settings: Settings, *names: str) -> None:
    """The inputs as they were made before the broker bounded them, or by somebody else."""
    admin = cluster_of(settings).admin()
    await admin.start()
    try:
        config = {"max.message.bytes": str(MAX_INPUT_BYTES), "compression.type": "producer"}
        topics = [NewTopic(settings.topic(name), settings.partitions, 1, topic_configs=config) for name in names]
        await admin.create_topics(topics)
    finally:
        await admin.close()


async def send_compressed(settings: Settings, name: str, codec: str, size: int, count: int = 1) -> None:
    """Records of zeros in one compressed batch."""
    producer = cluster_of(settings).producer(
        compression_type=codec, max_request_size=1 << 30, max_batch_size=1 << 30, linger_ms=0
    )
    await producer.start()
    try:
        batch = producer.create_batch()
        for _ in range(count):
            assert batch.append(key=HOSTILE.encode(), value=bytes(size), timestamp=now_ms()) is not None
        topic = settings.topic(name)
        partition = kafka_partition(HOSTILE.encode(), settings.partitions)
        await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()


def peak_bytes(pid: int) -> int:
    """The most that a process ever had in memory."""
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith("VmHWM:"):
            return int(row.split()[1]) * 1024
    raise AssertionError(f"{pid}: no VmHWM")


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_the_broker_refuses_what_becomes_larger_than_a_message(settings: Settings, name: str, codec: str) -> None:
    async def scenario() -> None:
        await create_topics(settings)
        await send_compressed(settings, name, codec, MAX_INPUT_BYTES // 2)
        with pytest.raises(MessageSizeTooLargeError):
            await send_compressed(settings, name, codec, MAX_INPUT_BYTES + 1)
        with pytest.raises(MessageSizeTooLargeError):  # the whole batch counts, not each record
            await send_compressed(settings, name, codec, MAX_INPUT_BYTES // 2 + 1, 2)

    asyncio.run(scenario())


@pytest.mark.timeout(240)
def test_a_bomb_becomes_a_dead_letter_beside_a_steady_tenant(settings: Settings, tes: Any) -> None:
    """All in one partition: what is behind the bombs has to be read in time."""
    settings = replace(settings, partitions=1, tick_seconds=0.2)

    async def scenario() -> None:
        await create_permissive(settings, *INPUTS)
        await create_topics(settings)
        worker = await start_worker(settings, None)
        try:
            await produce_feed(settings, [line(1, now_ms())])
            await until_found(settings, lambda found: len(found.verdicts) == 1)
            before = peak_bytes(worker.pid)
            await send_compressed(settings, INPUTS[0], "gzip", BOMB_BYTES)
            await send_compressed(settings, INPUTS[0], "lz4", 1 << 20, 40)
            await send_compressed(settings, INPUTS[1], "zstd", BOMB_BYTES, 2)
            await produce_feed(settings, [line(6, now_ms())])
            found = await until_found(settings, lambda found: len(found.verdicts) == 2 and len(found.dead_letters) == 3)
            assert {row["tenant_id"] for row in found.verdicts} == {STEADY}
            assert peak_bytes(worker.pid) - before < BOMB_BYTES
        finally:
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0
        # Another worker does not find them again.
        worker = await start_worker(settings, None)
        await produce_feed(settings, [line(11, now_ms())])
        found = await until_found(settings, lambda found: len(found.verdicts) == 3)
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0
        assert len(found.dead_letters) == 3

    asyncio.run(scenario())
    code, out, _ = tes("dlq", "list", "--jsonl")
    assert code == 0
    letters = {
        (row["letter"].split("/")[0], row["origin"]["source.offset"]): row for row in map(json.loads, out.splitlines())
    }
    assert set(letters) == {("connections", "1"), ("connections", "41"), ("commands", "1")}
    assert "offset 1: batch of" in letters["connections", "1"]["error"]
    assert "(gzip): inflates to more than 33554432 bytes" in letters["connections", "1"]["error"]
    assert "offsets 2..41: batch of" in letters["connections", "41"]["error"]
    assert letters["commands", "1"]["flaw"] == "it holds an unreadable batch of records: 0..1 zstd"
    assert letters["commands", "1"]["headers"] == {}
    name = letters["connections", "1"]["letter"]
    code, out, _ = tes("dlq", "redrive", name)
    assert (code, "REFUSED  it holds an unreadable batch of records: 1..1 gzip" in out) == (3, True)
    assert tes("dlq", "show", name)[0] == 0
    assert tes("dlq", "discard", name, "--reason", "bomb")[0] == 0
    assert BATCH not in out
    # Who only looks is told what he does not see, and sees the rest.
    code, out, err = tes("state", "get", STEADY, "mx1.example.com")
    assert (code, "left out" in err) == (0, False)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("part", ["key", "headers", "value"])
def test_a_record_as_large_as_its_topic_takes_becomes_a_dead_letter(
    settings: Settings,
    tes: Any,
    part: str,
) -> None:
    settings = replace(settings, partitions=1, tick_seconds=0.2)
    large = b"x" * (MAX_INPUT_BYTES - 200)

    async def scenario() -> None:
        await create_topics(settings)
        async with cluster_of(settings).producer(max_request_size=20 << 20) as producer:
            await producer.send_and_wait(
                settings.topic(INPUTS[0]),
                large if part == "value" else b"",
                key=large if part == "key" else HOSTILE.encode(),
                headers=[("h", large if part == "headers" else None)],
            )
        worker = await start_worker(settings, None)
        try:
            await produce_feed(settings, [line(1, now_ms())])
            found = await until_found(settings, lambda found: len(found.verdicts) == 1)
            assert len(found.dead_letters) == 1
        finally:
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0

    asyncio.run(scenario())
    code, out, _ = tes("dlq", "list", "--jsonl")
    (letter,) = map(json.loads, out.splitlines())
    assert (code, letter["flaw"]) == (0, None)  # whole, as it can be written back


@pytest.mark.timeout(150)
def test_topics_that_differ_are_told_and_left_as_they_are(settings: Settings, tes: Any) -> None:
    code, out, err = tes("topics", "create")
    assert (code, sorted(out.split()), err) == (0, sorted(topic.name for topic in named_topics(settings).values()), "")
    assert tes("topics", "create") == (0, "", "")


@pytest.mark.timeout(150)
def test_topics_are_made_when_every_broker_knows_them(
    settings: Settings, tes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker learns of a topic a moment after the controller has made it; here the moment is long enough to see."""
    asyncio.run(create_permissive(settings, INPUTS[0]))
    send, answers = Admin._send_request, 0

    async def late(admin: Admin, request: Any, node_id: int | None = None) -> Any:
        nonlocal answers
        answer = await send(admin, request, node_id)
        if isinstance(request, MetadataRequest) and (answers := answers + 1) <= 3:
            answer.topics = [(UnknownTopicOrPartitionError.errno, *row[1:]) for row in answer.topics]
        return answer

    monkeypatch.setattr(Admin, "_send_request", late)
    code, out, err = tes("topics", "create")
    # Three that were made late here, perhaps some that were late by themselves, one that knows all, and the comparison.
    assert code == 0
    assert answers >= 5
    assert "not visible" not in err
    assert len(out.split()) == len(named_topics(settings)) - 1


@pytest.mark.timeout(150)
def test_who_asks_for_a_topic_does_not_make_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    send = Admin._send_request

    async def kept(admin: Admin, request: Any, node_id: int | None = None) -> Any:
        asked.append(request)
        return await send(admin, request, node_id)

    monkeypatch.setattr(Admin, "_send_request", kept)
    assert asyncio.run(existing_partitions(cluster_of(settings), settings.topic(INPUTS[0]))) == {}
    assert [request._allow_auto_topic_creation for request in asked] == [False]


@pytest.mark.timeout(150)
def test_a_topic_with_other_settings_is_told_and_one_with_other_partitions_is_refused(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tes: Any,
) -> None:
    asyncio.run(create_permissive(settings, INPUTS[0]))
    code, out, err = tes("topics", "create")
    topic = settings.topic(INPUTS[0])
    said = "".join(
        f"tes topics create: {topic}: {name}: {has}: tes topics create would make it {wanted}\n"
        for name, has, wanted in (
            ("compression.type", "producer", "uncompressed"),
            ("message.timestamp.type", "CreateTime", "LogAppendTime"),
        )
    )
    assert (code, err, topic in out.split()) == (0, said, False)
    monkeypatch.setenv("TES_PARTITIONS", "6")
    code, out, err = tes("topics", "create")
    assert (code, out) == (3, "")
    assert f"{topic}: partitions: 3: tes topics create would make it 6\n" in err
    assert said in err
    assert settings.topic(TOPICS["policy"]) not in err  # has one partition whatever the others have
