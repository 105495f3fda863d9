"""What a real worker writes bears the headers of CloudEvents in Kafka, as another client reads them."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.records import connection_record
from streams.wire.registry import LocalRegistry
from tests.support.waiting import until_true
from tests.support.worker_site import a_worker, live_feed

IDS = {"verdict": "verdict_id", "admin_notification": "notification_id"}


@pytest.mark.timeout(200)
def test_verdicts_and_notifications_are_events_with_their_own_ids(settings: Settings) -> None:
    codecs = {name: AvroCodec(name, LocalRegistry()) for name in (*IDS, "inbound_connection")}

    async def events(name: str) -> list[tuple[str, str]]:
        """The id of each event, and that of the record in it."""
        found = []
        async for row in read_settled(cluster_of(settings), settings.topic(TOPICS[name])):
            event = from_binary_event(KafkaMessage(dict(row.headers), row.key, row.value))
            assert event.get_data() == row.value
            found.append((event.get_id(), codecs[name].decode(row.value)[IDS[name]]))
        return found

    async def scenario() -> None:
        await create_topics(settings)
        topic, codec = settings.topic(TOPICS["inbound_connection"]), codecs["inbound_connection"]
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            for line in live_feed(60):
                record = connection_record(line)
                await producer.send_and_wait(topic, codec.encode(record), key=record["tenant_id"].encode())

        async def is_written() -> bool:
            return bool(await events("verdict") and await events("admin_notification"))

        async with a_worker(settings):
            await until_true(is_written)
        for name in IDS:
            assert all(event_id == record_id for event_id, record_id in await events(name))

    asyncio.run(scenario())
