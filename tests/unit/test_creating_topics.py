"""Topics are created where they are absent, also when one goes while it is looked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError

from streams.kafka import provisioning
from streams.kafka.provisioning import create_missing

TOPIC = NewTopic("t", 1, 1)


class DeletingBroker:
    """A broker that still describes a topic so often, and then has deleted it."""

    def __init__(self, described: int, codes: tuple[int, ...] = (0,)) -> None:
        self.described, self.codes, self.made = described, list(codes), 0

    @asynccontextmanager
    async def opened_admin(self) -> AsyncIterator[Any]:
        yield self

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        self.described -= 1
        there = self.described >= 0 or self.made
        return [{"topic": name, "error_code": 0 if there else UnknownTopicOrPartitionError.errno} for name in names]

    async def create_topics(self, topics: list[NewTopic]) -> Any:
        code = self.codes.pop(0)
        self.made += code == 0
        return SimpleNamespace(topic_errors=[(topic.name, code, None) for topic in topics])

    async def unknown_topics(self, names: list[str]) -> set[str]:
        return set() if self.made else set(names)


@pytest.mark.parametrize("codes", [(0,), (TopicAlreadyExistsError.errno, 0)], ids=["at once", "behind its deletion"])
def test_a_topic_that_goes_while_it_is_looked_for_is_made(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[int, ...]
) -> None:
    monkeypatch.setattr(provisioning, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(provisioning, "_LOOKS", 5)
    broker: Any = DeletingBroker(1, codes)
    assert asyncio.run(create_missing(broker, [TOPIC])) == ["t"]
    assert broker.made == 1
