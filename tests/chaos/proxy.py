"""A TCP proxy before a broker that delays or holds its answers.

It knows the Kafka protocol as far as it must: frames, the kind of a request, and the answers that tell clients where
the broker is. In these its address is replaced by the proxy's, of the same length, or clients would go past the proxy.
"""

from __future__ import annotations

import asyncio
import random
import struct
from contextlib import suppress
from typing import Self

BROKER_HOST = b"127.0.0.1"
PROXY_HOSTS = [f"127.0.0.{number}" for number in range(2, 10)]
"""One for each proxy that stands before the same broker; as long as the broker's own."""
PRODUCE, METADATA, FIND_COORDINATOR, END_TRANSACTION, TRANSACTION_OFFSETS = 0, 3, 10, 26, 28


class SlowProxy:
    """Delays every answer by a random time up to `delay_seconds`; requests of the kinds in `held` wait.

    `held_requests` counts those that wait or waited.
    """

    def __init__(self, bootstrap: str, chance: random.Random, delay_seconds: float = 0.0) -> None:
        self._host, _, port = bootstrap.partition(":")
        self._port = int(port)
        self._chance, self.delay_seconds = chance, delay_seconds
        self.held: frozenset[int] = frozenset()
        self._let_through = 0
        self.answers = self.held_requests = 0
        self._released = asyncio.Event()
        self._own_host = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"{self._own_host}:{self._port}"

    async def __aenter__(self) -> Self:
        for self._own_host in PROXY_HOSTS:
            with suppress(OSError):  # another proxy's
                self._server = await asyncio.start_server(self._serve, self._own_host, self._port)
                return self
        raise OSError(f"port {self._port}: all of {PROXY_HOSTS} are taken")

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hold(self, *kinds: int, after: int = 0) -> None:
        """From now on requests of these kinds do not reach the broker; the first ones still do, `after` of them.

        Told before its worker starts, it holds what that one cannot do without, however fast it is.
        """
        self._released.clear()
        self.held, self._let_through = frozenset(kinds), after

    def release(self) -> None:
        """Let everything through again, what was held first."""
        self.held = frozenset()
        self._released.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            broker_reader, broker_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        kinds: dict[int, int] = {}
        ways = [
            asyncio.create_task(self._requests(reader, broker_writer, kinds)),
            asyncio.create_task(self._answers(broker_reader, writer, kinds)),
        ]
        try:
            # The end of the proxy cancels this; asyncio would report a cancelled connection as an error.
            with suppress(asyncio.CancelledError):
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, broker_writer):
                end.close()
            self._tasks.discard(task)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kinds: dict[int, int]
    ) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                frame = await _frame(reader)
                kind, _, correlation = struct.unpack_from(">hhi", frame, 4)
                kinds[correlation] = kind
                if kind in self.held and not self._is_let_through():
                    self.held_requests += 1
                    await self._released.wait()
                writer.write(frame)
                await writer.drain()

    def _is_let_through(self) -> bool:
        self._let_through -= 1
        return self._let_through >= 0

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kinds: dict[int, int]) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                frame = await _frame(reader)
                (correlation,) = struct.unpack_from(">i", frame, 4)
                if kinds.pop(correlation, None) in (METADATA, FIND_COORDINATOR):
                    frame = frame.replace(BROKER_HOST, self._own_host.encode())
                if self.delay_seconds:
                    await asyncio.sleep(self._chance.random() * self.delay_seconds)
                writer.write(frame)
                self.answers += 1
                await writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack(">i", head)[0])
