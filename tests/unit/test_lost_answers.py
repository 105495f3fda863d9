"""What a writer at work does when its brokers went and came back; with brokers: `contract/kafka`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from streams.engine.config import PartitionConfig
from streams.engine.partition import transactions as module
from streams.engine.partition.transactions import Transactions
from streams.errors import DependencyError

OWN = TopicPartition("changelog", 2)


class FakeWriter:
    """Loses an answer in each commit of a number in `loses`."""

    def __init__(self, loses: set[int]) -> None:
        self.loses, self.lost_answers, self.commits = loses, 0, 0

    async def begin(self) -> None:
        pass

    async def write(self, *_: Any) -> list[int]:
        return []

    async def commit(self) -> None:
        self.commits += 1
        self.lost_answers += self.commits in self.loses


class FakeCluster:
    @asynccontextmanager
    async def opened_client(self) -> AsyncIterator[str]:
        yield "client"


def commit(
    monkeypatch: pytest.MonkeyPatch, times: int, loses: set[int], undecided: list[TopicPartition]
) -> tuple[int, int]:
    """Commit so often; gives how often it was committed, and looked for what is undecided."""
    looked = []

    async def look(client: str, own: TopicPartition, topics: tuple[str, ...]) -> list[TopicPartition]:
        looked.append((client, own, topics))
        return undecided

    monkeypatch.setattr(module, "undecided_partitions", look)
    config = PartitionConfig(cast(Any, FakeCluster()), "app", "group", "in", "side", "changelog", ("verdicts",))
    transactions, writer = Transactions(config, 2, lambda _: None), FakeWriter(loses)
    transactions._started = cast(Any, writer)

    async def run() -> None:
        for _ in range(times):
            await transactions.commit([], {}, {})

    asyncio.run(run())
    assert set(looked) <= {("client", OWN, ("verdicts",))}
    return writer.commits, len(looked)


def test_it_goes_on_where_every_transaction_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit(monkeypatch, 4, set(), []) == (4, 0)
    assert commit(monkeypatch, 4, {2}, []) == (4, 1)
    assert commit(monkeypatch, 4, {2, 3}, []) == (4, 2)


def test_it_ends_where_one_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DependencyError, match="2 partitions have a transaction without an end, such as verdicts-1: "):
        commit(monkeypatch, 1, {1}, [TopicPartition("verdicts", 1), OWN])
