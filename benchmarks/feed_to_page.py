"""How long a connection on the feed takes to be a row that an administrator sees.

A broker, a worker and a report run as they ship. Connections of new servers are written at a gentle rate, and the
report's API is asked for its latest servers again and again: a wait ends when an answer with the row is there.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
from aiokafka import AIOKafkaProducer

from benchmarks.broker import RaceKafka
from benchmarks.environment import CACHE_DIR
from streams.clock import wall_clock_ms
from streams.dev.embedded_kafka import ensure_jars
from streams.domain.time import iso
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import start_worker
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.records import connection_record
from streams.wire.registry import LocalRegistry
from tests.support.ports import free_port
from tests.support.process import Process

CONNECTIONS: Final = 200
RATE: Final = 5.0
"""Connections a second."""
POLL_SECONDS: Final = 0.055
"""Between two questions: a caller may ask 1,200 times a minute. What is measured is too long by up to as much."""
WAIT_SECONDS: Final = 60.0
WARM: Final = 10
"""Connections in front, whose servers are not counted: the first one waits for what starts."""
TENANT: Final = "bench"


def _connection(number: int, at: int) -> dict[str, Any]:
    host = f"mx{number}.example.com"
    line = {
        "event_id": str(number),
        "observed_at": iso(at),
        "tenant_id": TENANT,
        "connector_id": "c1",
        "connector_type": "ON_PREMISES",
        "source_ip": "192.0.2.1",
        "helo": host,
        "received": [f"from a by {host} with Microsoft SMTP Server id 15.1.2507.39; Mon, 1 Jun 2026 00:00:00 +0000"],
    }
    return connection_record(orjson.dumps(line))


class _Sent(NamedTuple):
    """When a connection was about to be written: seconds that never go back, and UTC milliseconds."""

    at: float
    at_ms: int


async def _send(settings: Settings, count: int, sent: dict[str, _Sent]) -> None:
    """Write connections of new servers at the rate, and note when each was about to be."""
    codec, topic = AvroCodec("inbound_connection", LocalRegistry()), settings.topic(TOPICS["inbound_connection"])
    begun = time.monotonic()
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap, acks="all") as producer:
        for number in range(count):
            await asyncio.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            at_ms = wall_clock_ms()
            value = codec.encode(_connection(number, at_ms))
            sent[f"mx{number}.example.com"] = _Sent(time.monotonic(), at_ms)
            await producer.send_and_wait(topic, value, key=TENANT.encode())


async def _watch(port: int, count: int, seen: dict[str, float]) -> None:
    """Ask for the latest servers until all were shown, and note when each was."""
    address = f"http://127.0.0.1:{port}"
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(address, cookie_jar=jar, headers={"Accept": "text/html"}) as session:
        async with session.get("/sign-in") as answer:
            token = re.search(r'name="csrf_token" value="([^"]+)"', await answer.text())
        assert token is not None
        form = {"csrf_token": token[1], "role": "tenant-reader", "tenant": TENANT}
        async with session.post("/sign-in", data=form) as answer:
            assert answer.status == 200, await answer.text()
        async with asyncio.timeout(count / RATE + WAIT_SECONDS):
            while len(seen) < count:
                due = time.monotonic() + POLL_SECONDS
                async with session.get("/v1/servers?sort=last_seen&limit=50") as answer:
                    assert answer.status == 200, await answer.text()
                    rows = orjson.loads(await answer.read())["items"]
                now = time.monotonic()
                for row in rows:
                    seen.setdefault(row["server"], now)
                await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _reported(settings: Settings) -> dict[str, int]:
    """When the worker wrote the first report of each server, UTC milliseconds."""
    topic, found = settings.topic(TOPICS["server_report"]), dict[str, int]()
    async for record in read_settled(cluster_of(settings), topic):
        found.setdefault(record.key.decode().partition("/")[2], record.timestamp)
    return found


async def _between(bootstrap: str, folder: Path, count: int) -> dict[str, Any]:
    settings = Settings(bootstrap=bootstrap, app_id="bench", partitions=4, state_dir=str(folder / "state"))
    await create_topics(settings)
    port, probes = free_port(), free_port()
    variables = {
        "TES_KAFKA_BOOTSTRAP": bootstrap,
        "TES_REPORT_DIR": str(folder / "report"),
        "TES_REPORT_LOCAL_SIGN_IN": "demo",
        "TES_REPORT_API_PORT": str(port),
        "TES_REPORT_PORT": str(probes),
    }
    web_port, sent, seen = free_port(), dict[str, _Sent](), dict[str, float]()
    with (folder / "worker.log").open("wb") as logs:
        worker = await start_worker(settings, None, logs, web_port)
        report = Process(folder / "report.log", variables, "report")
        try:
            await asyncio.to_thread(report.until_ready, probes)
            await asyncio.to_thread(report.until_ready, web_port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_watch(port, count + WARM, seen))
                tasks.create_task(_send(settings, count + WARM, sent))
        finally:
            report.end()
            worker.send_signal(signal.SIGTERM)
            await worker.wait()
    reported, counted = await _reported(settings), list(sent.items())[WARM:]
    waits = sorted((seen[name] - one.at) * 1e3 for name, one in counted)
    of_worker = sorted(reported[name] - one.at_ms for name, one in counted)
    return {
        "connections": count,
        "connections_per_second": RATE,
        "p50_ms": round(waits[len(waits) // 2]),
        "p99_ms": round(waits[len(waits) * 99 // 100]),
        "most_ms": round(waits[-1]),
        "worker_p50_ms": of_worker[len(of_worker) // 2],
        "worker_p99_ms": of_worker[len(of_worker) * 99 // 100],
    }


def measure(count: int = CONNECTIONS) -> dict[str, Any]:
    """From writing a connection to an answer of the report's API with its server: percentiles in ms."""
    folder = CACHE_DIR / "feed-to-page"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with RaceKafka(folder / "kafka", jars_dir=ensure_jars()) as kafka:
        return asyncio.run(_between(kafka.bootstrap, folder, count))


def lines_of(found: dict[str, Any]) -> list[str]:
    """What the report of the benchmark says of it."""
    return [
        "From a connection on the feed to its row in an answer of the report, "
        f"{found['connections']} new servers at {found['connections_per_second']:g} a second: "
        f"p50 {found['p50_ms']:,} ms, p99 {found['p99_ms']:,} ms, at most {found['most_ms']:,} ms; "
        f"of these until the worker has written the report p50 {found['worker_p50_ms']:,} ms, "
        f"p99 {found['worker_p99_ms']:,} ms.",
        "",
    ]
