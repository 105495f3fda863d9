"""A wrong address of Kafka is told soon, whatever listens there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streams.kafka import cluster as clusters
from streams.kafka.cluster import Cluster, ClusterError
from streams.kafka.patience import told_soon


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[str]:
    """A port that takes connections and is no Kafka; without an answer it is silent."""
    ended = asyncio.Event()

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer:
            writer.write(answer)
            writer.close()
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ended.set()


@pytest.mark.parametrize("kind", ["admin", "consumer", "producer"])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_port_that_is_no_kafka_is_named(kind: str, answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_SOON_SECONDS", 0.1)
    monkeypatch.setattr(clusters, "_SOON_REFUSAL_SECONDS", 0.3)

    async def start() -> str:
        async with listening(answer) as address:
            with told_soon(), pytest.raises(ClusterError, match=address):
                # The client's own request would wait for 40 s.
                await asyncio.wait_for(getattr(Cluster(address), kind)().start(), 20)
            return address

    assert asyncio.run(start())


def test_the_time_is_less_than_ten_seconds_with_the_start_of_the_process() -> None:
    assert clusters._SOON_SECONDS + clusters._SOON_REFUSAL_SECONDS <= 8
