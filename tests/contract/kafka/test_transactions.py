"""What is committed through a transactional producer, as readers of committed records find it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from streams.engine.config import PartitionConfig
from streams.engine.partition.transactions import Transactions
from streams.engine.ports import Output
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.testing import MemoryStore
from tests.contract.transactions import Place, TransactionsContract, UnitWriter


class KafkaPlace(Place):
    """The topics of one test on the broker."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._cluster = settings, cluster_of(settings)
        self.source = settings.topic(TOPICS["inbound_connection"])
        self._verdicts = settings.topic(TOPICS["verdict"])
        self._config = PartitionConfig(
            self._cluster,
            settings.app_id,
            settings.app_id,
            self.source,
            settings.topic(TOPICS["admin_command"]),
            settings.changelog,
        )

    async def life(self, failpoint: Callable[[str], None], work: Callable[[UnitWriter], Awaitable[None]]) -> None:
        transactions = Transactions(self._config, 0, failpoint)
        try:
            await transactions.fence()
            await work(_ToTopics(transactions, self._verdicts))
        finally:
            await transactions.close()

    async def outputs(self) -> list[Output]:
        return [
            Output("verdicts", record.key, record.value, record.headers)
            async for record in read_settled(self._cluster, self._verdicts)
        ]

    async def state(self) -> dict[bytes, bytes]:
        store = MemoryStore()
        async for record in read_settled(self._cluster, self._settings.changelog):
            store.write({record.key: record.value})
        return dict(store.scan(b"", b"\xff"))

    async def done(self) -> dict[str, int]:
        admin = self._cluster.admin()
        await admin.start()
        try:
            rows = await admin.list_consumer_group_offsets(self._settings.app_id)
        finally:
            await admin.close()
        return {partition.topic: row.offset - 1 for partition, row in rows.items()}


class _ToTopics:
    """Writes to the topics of a test what is for short names."""

    def __init__(self, transactions: Transactions, topic: str) -> None:
        self._transactions, self._topic = transactions, topic

    async def commit(
        self, outputs: Sequence[Output], changes: Mapping[bytes, bytes | None], done: Mapping[str, int]
    ) -> int | None:
        rows = [row._replace(topic=self._topic) for row in outputs]
        return await self._transactions.commit(rows, changes, done)


class TestTransactions(TransactionsContract):
    @pytest.fixture(autouse=True)
    def use(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, scenario: Callable[[Place], Awaitable[None]]) -> None:
        async def run() -> None:
            await create_topics(self._settings)
            await scenario(KafkaPlace(self._settings))

        asyncio.run(run())


class TestTransactionsOfAnOlderCluster(TestTransactions):
    @pytest.fixture(autouse=True)
    def use(self, settings: Settings, old_bootstrap: str) -> None:
        self._settings = replace(settings, bootstrap=old_bootstrap)
