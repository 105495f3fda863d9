"""A follower reads to the end that it was told, unless nothing will ever come up to there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from aiokafka import TopicPartition

from streams.kafka.follower import TopicFollower
from streams.kafka.topics import TopicError
from tests.support.memory_topic import MemoryLog, MemoryTopic, Partition


class MadeAgain(MemoryLog):
    """A log whose topic has fewer records from the second look on."""

    looks = 0

    async def ends(self) -> Mapping[TopicPartition, int]:
        self.looks += 1
        ends = await super().ends()
        return {one: end + 5 for one, end in ends.items()} if self.looks <= 2 else ends


def test_reading_ends_when_the_topic_was_made_again_with_less() -> None:
    topic = MemoryTopic([Partition()])
    topic.append(b"key", b"value")
    follower = TopicFollower(MadeAgain(topic))

    async def read() -> None:
        await follower.start()
        async for _ in follower.read_to_end():
            pass

    with pytest.raises(TopicError, match="memory-0: ended at offset 6, and now at 1: it was deleted and made again"):
        asyncio.run(read())
