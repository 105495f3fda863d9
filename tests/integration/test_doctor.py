"""`tes doctor` at a real Kafka: well while a worker works, and every fault that is made is found."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.cli.main import main
from streams.domain.time import HOUR_MS
from streams.kafka.provisioning import create_topics, delete_topics
from streams.kafka.reader import existing_partitions
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.doctor import examination
from streams.operations.doctor.examination import Subject, examine
from streams.operations.doctor.findings import Finding, State
from streams.operations.feeds import produce_feed
from streams.operations.group import require_stopped
from streams.policies.reader import read_published
from streams.policies.topic import PolicyTopic, Published
from streams.settings.worker import Settings
from streams.wire.registry import LocalRegistry
from streams.worker.wiring import rulebook_of
from tests.support.live import line, now_ms, until_found
from tests.support.worker_site import a_worker


async def examined(settings: Settings, capfd: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, str]]]:
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.environment().items():
            patch.setenv(name, value)
        code = await asyncio.to_thread(main, ["doctor", "--json"])
    return code, {row["check"]: row for row in json.loads(capfd.readouterr().out)}


@pytest.mark.timeout(200)
def test_a_working_service_is_well_and_each_fault_is_found(
    settings: Settings, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    published = list[PolicyTopic]()

    async def read_counted(topic: PolicyTopic) -> Published:
        published.append(topic)
        return await read_published(topic)

    monkeypatch.setattr(examination, "read_published", read_counted)

    async def scenario() -> None:
        await create_topics(settings)
        source = settings.topic(TOPICS["inbound_connection"])
        async with a_worker(settings):
            await produce_feed(settings, [line(server, now_ms() - 1000) for server in range(8)])
            await until_found(settings, lambda found: len(found.servers) == 8)
            code, found = await examined(settings, capfd)
            assert code == 0
            assert len(published) == 1
            assert {row["check"] for row in found.values() if row["state"] not in ("ok", "skipped")} <= {"catalogue"}
            assert {"brokers", "topics", "rights", "partitioner", "signs of life", "lag", "dead letters"} <= set(found)
            async with cluster_of(settings).producer() as producer:
                await producer.send_and_wait(source, b"no record", key=b"nobody", partition=0)
                await producer.send_and_wait(source, b"no record", key=b"nobody", partition=1)
            await until_found(settings, lambda found: len(found.dead_letters) == 2)
            async with cluster_of(settings).opened_admin() as admin:
                kept = ConfigResource(
                    ConfigResourceType.TOPIC, settings.topic(TOPICS["verdict"]), configs={"cleanup.policy": "delete"}
                )
                await admin.alter_configs([kept])
        await require_stopped(settings)
        code, found = await examined(settings, capfd)
        assert code == 3
        states = {name: row["state"] for name, row in found.items() if row["state"] in ("warning", "problem")}
        states.pop("catalogue", None)
        assert states == {
            "topics": "problem",
            "partitioner": "problem",
            "schemas of connections": "problem",
            "workers": "problem",
            "dead letters": "warning",
        }
        assert "cleanup.policy" in found["topics"]["text"]
        # Nothing of a cluster that does not answer is looked at.
        code, found = await examined(replace(settings, bootstrap="127.0.0.1:1"), capfd)
        assert (code, found["brokers"]["state"], found["cluster"]["state"]) == (3, "problem", "skipped")
        assert "topics" not in found

    asyncio.run(scenario())


async def all_found(settings: Settings, later_ms: int = 0) -> dict[str, Finding]:
    subject = Subject(settings, LocalRegistry(), lambda _: rulebook_of(settings), lambda: now_ms() + later_ms)
    return {finding.check: finding async for finding in examine(subject)}


@pytest.mark.timeout(150)
def test_what_waits_behind_the_mark_of_a_transaction_is_late_too(settings: Settings) -> None:
    source = TopicPartition(settings.topic(TOPICS["inbound_connection"]), 0)

    async def scenario() -> Finding:
        await create_topics(settings)
        producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, transactional_id=f"{settings.app_id}-lag")
        async with producer:
            for _ in range(2):
                async with producer.transaction():
                    await producer.send_and_wait(source.topic, b"x", b"k", partition=0)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap, group_id=settings.app_id, enable_auto_commit=False
        )
        async with consumer:
            consumer.assign([source])
            await consumer.commit({source: 1})  # where the first transaction's mark is
        return (await all_found(settings, HOUR_MS))["lag"]

    assert asyncio.run(scenario()).state is State.PROBLEM


@pytest.mark.timeout(150)
def test_what_does_not_end_keeps_no_other_check_back(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "CHECK_SECONDS", 15.0)
    signs = settings.topic(TOPICS["partition_progress"])

    async def scenario() -> dict[str, Finding]:
        await create_topics(settings)
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap,
            transactional_id=f"{settings.app_id}-open",
            transaction_timeout_ms=900_000,
        )
        await producer.start()
        try:
            await producer.begin_transaction()
            await producer.send_and_wait(signs, b"x", b"0", partition=0)
            return await all_found(settings)
        finally:
            await producer.abort_transaction()
            await producer.stop()

    found = asyncio.run(scenario())
    assert found["workers"].state is State.PROBLEM
    assert "not within 15 s" in found["workers"].text
    assert {"lag", "catalogue", "dead letters"} <= set(found)


@pytest.mark.timeout(150)
def test_a_topic_that_does_not_exist_is_a_problem_and_is_named(settings: Settings) -> None:
    missing = settings.topic(TOPICS["connector"])

    async def scenario() -> Finding:
        await create_topics(settings)
        await delete_topics(settings, [missing])
        while await existing_partitions(cluster_of(settings), missing):
            await asyncio.sleep(0.1)
        return (await all_found(settings))["topics"]

    finding = asyncio.run(scenario())
    assert (finding.state, finding.text) == (State.PROBLEM, f"{missing}: does not exist: tes topics create")
