"""`tes edge` whole: what the door answers reaches Kafka, and what Kafka has is what the door enforces."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import registry_of
from tests.support.edge_process import edge_site
from tests.support.waiting import until_true

LINE = (
    "from a by mx1.example.com (192.0.2.1) with Microsoft SMTP Server id 15.1.2507.39; Tue, 1 Sep 2026 00:00:00 +0000"
)


@pytest.mark.timeout(180)
def test_a_message_that_the_door_has_answered_is_an_event_in_kafka(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(create_topics(settings))
    topic, codec = settings.topic(TOPICS["inbound_connection"]), AvroCodec("inbound_connection", registry_of(settings))

    async def events() -> list[str]:
        return [codec.decode(row.value)["event_id"] async for row in read_settled(cluster_of(settings), topic)]

    async def acting() -> None:
        shared = {name: value for name, value in settings.environment().items() if "KAFKA" in name or "PREFIX" in name}
        async with edge_site(tmp_path, **shared, TES_EDGE_SYNC_PORT="0") as site:
            await site.until("/startupz", lambda status, _: status == 200)
            own = {"tenant_id": "contoso", "connector_id": "main"}
            answer = await site.ask({"source_ip": "192.0.2.1", "helo": "mx1", "received": [LINE], **own})

            async def is_there() -> bool:
                return await events() == [answer["event_id"]]

            await until_true(is_there)
            await site.until("/readyz", lambda _, body: body["spool"]["events"] == 0 and body["sync"]["alive"])
            assert await site.end() == 0

    asyncio.run(acting())
