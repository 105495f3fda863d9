"""Nothing is fetched before a follower knows where its partitions end.

A broker answers the requests of a connection in turn, and holds back a fetch that finds nothing: behind one, a request
for the end would wait as long as the fetch does.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient

from streams.kafka.follower import KafkaLog, TopicFollower
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings

FETCH, ENDS = "FetchRequest", "OffsetRequest"
"""How aiokafka names the two requests, without the number of their version."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all requests that clients send, in their order."""
    found: list[str] = []
    send = AIOKafkaClient.send

    async def recording(self: AIOKafkaClient, node: int, request: Any, **options: Any) -> Any:
        found.append(type(request).__name__.partition("_")[0])
        return await send(self, node, request, **options)

    monkeypatch.setattr(AIOKafkaClient, "send", recording)
    return found


def fetched_early(sent: list[str]) -> list[str]:
    """What was sent from the first fetch up to the last request for ends."""
    assert ENDS in sent
    last = len(sent) - sent[::-1].index(ENDS)
    return sent[sent.index(FETCH) : last] if FETCH in sent[:last] else []


def test_a_follower_knows_the_ends_before_it_fetches(settings: Settings, sent: list[str]) -> None:
    async def scenario() -> None:
        await create_topics(settings)
        follower = TopicFollower(KafkaLog(cluster_of(settings), [settings.topic(TOPICS["verdict"])]))
        await follower.start()
        async for _ in follower.read_to_end():
            pytest.fail("nothing is there to be read")
        assert fetched_early(sent) == []
        await follower.poll()
        assert FETCH in sent
        await follower.stop()

    asyncio.run(scenario())
