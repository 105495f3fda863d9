"""`tes doctor` at a real Kafka: well while a worker works, and every fault that is made is found."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.cli.main import main
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import produce_feed
from streams.operations.group import require_stopped
from streams.settings.worker import Settings
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
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        await create_topics(settings)
        source = settings.topic(TOPICS["inbound_connection"])
        async with a_worker(settings):
            await produce_feed(settings, [line(server, now_ms() - 1000) for server in range(8)])
            await until_found(settings, lambda found: len(found.servers) == 8)
            code, found = await examined(settings, capfd)
            assert code == 0
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
