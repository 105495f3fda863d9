"""Reading a topic to its end, whatever state its last transaction is in."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer

from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings


def test_an_open_transaction_is_waited_for(settings: Settings) -> None:
    topic = settings.topic(TOPICS["verdict"])

    async def values() -> list[bytes]:
        return [record.value async for record in read_settled(cluster_of(settings), topic)]

    async def scenario() -> list[bytes]:
        await create_topics(settings)
        producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, transactional_id=f"{settings.app_id}-reader")
        await producer.start()
        try:
            async with producer.transaction():
                await producer.send_and_wait(topic, b"one", b"key", partition=0)
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"two", b"key", partition=0)
            reader = asyncio.create_task(values())
            await asyncio.sleep(2)
            assert not reader.done()
            await producer.commit_transaction()
            async with asyncio.timeout(20):
                return await reader
        finally:
            await producer.stop()

    assert asyncio.run(scenario()) == [b"one", b"two"]
