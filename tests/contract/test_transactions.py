"""The fake for tests commits as Kafka does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from streams.engine.ports import Output
from streams.testing import FakeTransactions, MemoryLog
from tests.contract.transactions import Place, TransactionsContract, UnitWriter


class MemoryPlace(Place):
    source = "in"

    def __init__(self) -> None:
        self._log = MemoryLog()

    async def life(self, failpoint: Callable[[str], None], work: Callable[[UnitWriter], Awaitable[None]]) -> None:
        await work(FakeTransactions(self._log, failpoint))

    async def outputs(self) -> list[Output]:
        return self._log.outputs

    async def state(self) -> dict[bytes, bytes]:
        return dict(self._log.restored().scan(b"", b"\xff"))

    async def done(self) -> dict[str, int]:
        return self._log.done


class TestFakeTransactions(TransactionsContract):
    def run(self, scenario: Callable[[Place], Awaitable[None]]) -> None:
        async def run() -> None:
            await scenario(MemoryPlace())

        asyncio.run(run())
