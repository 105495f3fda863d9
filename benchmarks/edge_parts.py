"""Parts of the edge by themselves: a decision, an event that is spooled, a question over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.broker import RaceKafka
from benchmarks.edge_table import HOST
from benchmarks.environment import CACHE_DIR
from benchmarks.measure import cpu_seconds, tree
from streams.dev.embedded_kafka import ensure_jars
from streams.domain.policy.policy import ConnectorType
from streams.domain.server.connection import InboundConnection
from streams.edge.client import Client, Connector, Message
from streams.edge.door import Door
from streams.edge.door_process import event_encoder
from streams.edge.http.server import DECIDE, DECIDE_MAIL
from streams.edge.ports import SpooledEvent
from streams.edge.store.journaled import JournaledSpool
from streams.edge.store.spool import SpoolWriter
from streams.edge.store.verdicts import VerdictReader
from streams.kafka.provisioning import create_topics
from streams.settings.worker import read_settings
from tests.support.door import AnyConnectors, RecordedTelemetry
from tests.support.ports import free_port

STAMP = f"from {HOST} (10.0.0.5) by {HOST} (10.0.0.5) with Microsoft SMTP Server id 15.1.2507.39; Tue, 24 Nov 2026"
HTTP_CONNECTIONS, HTTP_LOADERS = 8, 2
REQUEST_LENGTHS = 100
SPOOL_BYTES: Final = 4 << 30
DRAIN_SECONDS: Final = 300.0
DRAINED_TIMES: Final = 6


def quantiles_us(seconds: list[float]) -> dict[str, float]:
    """The middle and the tail, in microseconds."""
    ordered = sorted(seconds)
    return {
        name: round(ordered[int(len(ordered) * share)] * 1e6, 1)
        for name, share in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999))
    }


class _Timed(RecordedTelemetry):
    """Keeps how long each decision took; what it decided is not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def answered(self, moment: str, decision: Any, seconds: float) -> None:
        self.seconds.append(seconds)


def _opened_spool(folder: Path) -> JournaledSpool:
    """A spool as the door has it; what is in its journal is moved when enough is there."""
    spool = JournaledSpool(folder, SpoolWriter(folder, SPOOL_BYTES), lambda *_: None, lambda *_: None)
    spool.open()
    return spool


def decisions(folder: Path, count: int) -> dict[str, Any]:
    """The whole answer of the door to a message, the storing of its event included."""
    verdicts, spool, timed = VerdictReader(folder), _opened_spool(folder), _Timed()
    verdicts.open()
    door = Door(AnyConnectors(), verdicts, spool, event_encoder(), timed, host="bench", is_enforcing=True)
    connector, client = Connector("bench", "bench", ConnectorType.ON_PREMISES), Client("127.0.0.1", HOST)
    began = time.perf_counter()
    for number in range(count):
        door.answer_message(client, connector, Message((STAMP,), "<m@example.com>", 1, f"Q{number}"))
    took = time.perf_counter() - began
    verdicts.close()
    spool.close()
    return {"decisions": count, "per_second": round(count / took)} | quantiles_us(timed.seconds)


def spooled(folder: Path, count: int) -> dict[str, Any]:
    """Events of 600 bytes, each stored by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    spool = _opened_spool(folder)
    seconds = []
    began = time.perf_counter()
    for number in range(count):
        at = time.perf_counter()
        spool.append(SpooledEvent("bench", f"event-{number}", True, b"e" * 600))
        seconds.append(time.perf_counter() - at)
    took = time.perf_counter() - began
    spool.close()
    return {"events": count, "per_second": round(count / took)} | quantiles_us(seconds)


def _request(port: int, path: str, number: int) -> bytes:
    content: dict[str, Any] = {"source_ip": "127.0.0.1", "helo": HOST}
    if path == DECIDE:
        content |= {"tenant_id": "bench", "connector_id": "bench", "received": [STAMP]}
        content |= {"message_id": f"<{'m' * number}@example.com>", "recipients": 1}
    body = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _ask(port: int, count: int, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # Of many lengths, so that their heads are not one.
    requests = [_request(port, path, number) for number in range(REQUEST_LENGTHS)]
    for number in range(count):
        writer.write(requests[number % REQUEST_LENGTHS])
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the HTTP door answered {head[:200]!r}")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


def ask_all(port: int, count: int, path: str = DECIDE) -> None:
    """Ask `count` times over some connections at once."""

    async def run() -> None:
        await asyncio.gather(*(_ask(port, count // HTTP_CONNECTIONS, path) for _ in range(HTTP_CONNECTIONS)))

    asyncio.run(run())


def _loaded(door: int, port: int, count: int, path: str) -> tuple[float, float]:
    """Ask by loaders of their own; returns the seconds that it took, and those of the door's processor."""
    ask_all(port, HTTP_CONNECTIONS * 50, path)
    before, began = sum(map(cpu_seconds, tree(door))), time.perf_counter()
    loader = [sys.executable, "-m", "benchmarks.edge_parts", "ask_all", str(port), str(count // HTTP_LOADERS), path]
    loaders = [subprocess.Popen(loader) for _ in range(HTTP_LOADERS)]
    if any(process.wait() for process in loaders):
        raise RuntimeError("a loader of the HTTP door failed")
    return time.perf_counter() - began, sum(map(cpu_seconds, tree(door))) - before


def http_decisions(folder: Path, count: int) -> dict[str, Any]:
    """Questions to the HTTP door; the loaders have cores of their own where there are some.

    What HTTP itself costs is measured by questions about a client of no connector, of whom there is nothing to decide.
    """
    port = free_port()
    given = {"TES_EDGE_DIR": str(folder), "TES_EDGE_MODE": "enforce", "TES_EDGE_MILTER": "", "TES_EDGE_DOOR_PORT": "0"}
    environment = {**os.environ, **given, "TES_EDGE_HTTP": f"127.0.0.1:{port}"}
    door = subprocess.Popen([sys.executable, "-m", "streams.cli", "edge", "door"], env=environment)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if door.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        took, spent = _loaded(door.pid, port, count, DECIDE)
        _, spent_on_http = _loaded(door.pid, port, count, DECIDE_MAIL)
    finally:
        door.terminate()
        door.wait(30)
    return {
        "decisions": count,
        "per_second": round(count / took),
        "door_us_per_decision": round(spent / count * 1e6, 1),
        "http_us_of_it": round(spent_on_http / count * 1e6, 1),
        "per_second_of_one_core": round(count / spent),
    }


def _fill_spool(spool: SpoolWriter, count: int) -> None:
    """Events of 50 tenants, as the door stores them."""
    encode = event_encoder()
    now = time.time_ns() // 1_000_000
    for number in range(count):
        tenant = f"tenant-{number % 50}"
        event = InboundConnection(
            *(f"event-{number}", now, tenant, "c", ConnectorType.ON_PREMISES, "192.0.2.1", HOST, (STAMP,))
        )
        spool.append(SpooledEvent(tenant, event.event_id, True, encode(event)), b"client")


def _drain(spool: SpoolWriter, kafka: RaceKafka, environment: dict[str, str]) -> dict[str, Any]:
    """Let a sync take what waits; measured from the moment at which the first events are gone."""
    count = spool.waiting()[0]
    command = [sys.executable, "-m", "streams.cli", "edge", "sync"]
    began, first, left, broker_before, sync_before = time.perf_counter(), 0.0, count, 0.0, 0.0
    sync = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        while waiting := spool.waiting()[0]:
            if not first and waiting < count:
                first, left = time.perf_counter(), waiting
                broker_before, sync_before = cpu_seconds(kafka.pid), sum(map(cpu_seconds, tree(sync.pid)))
            if sync.poll() is not None or time.perf_counter() - began > DRAIN_SECONDS:
                raise RuntimeError(f"sync left {waiting} events")
            time.sleep(0.02)
        took = time.perf_counter() - first
        broker_spent = cpu_seconds(kafka.pid) - broker_before
        sync_spent = sum(map(cpu_seconds, tree(sync.pid))) - sync_before
    finally:
        sync.terminate()
        sync.wait(60)
    return {
        "events": left,
        "per_second": round(left / took),
        "broker_us_per_event": round(broker_spent / left * 1e6, 1),
        "sync_us_per_event": round(sync_spent / left * 1e6, 1),
    }


def drained(folder: Path, count: int) -> dict[str, Any]:
    """Events that wait on disk, taken to a real Kafka by a shipped sync.

    The broker has taken `count` others before, and the measured ones are several times as many: a Java process that has
    just begun mostly compiles itself. What it spent on the first ones is `cold_broker_us_per_event`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spool = SpoolWriter(folder, SPOOL_BYTES)
    spool.open()
    shutil.rmtree(CACHE_DIR / "edge-kafka", ignore_errors=True)
    with RaceKafka(CACHE_DIR / "edge-kafka", jars_dir=ensure_jars()) as kafka:
        environment = {
            "TES_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "TES_EDGE_DIR": str(folder),
            "TES_EDGE_SYNC_PORT": "0",
        }
        asyncio.run(create_topics(read_settings({"TES_KAFKA_BOOTSTRAP": kafka.bootstrap})))
        _fill_spool(spool, count)
        cold = _drain(spool, kafka, environment)
        _fill_spool(spool, DRAINED_TIMES * count)
        warm = _drain(spool, kafka, environment)
    spool.close()
    return warm | {"cold_broker_us_per_event": cold["broker_us_per_event"]}


def main(argv: list[str]) -> None:
    """One part, printed as JSON: its name, its folder and how many; or a loader: port, how many, and the path."""
    name, place, count, *path = argv
    if name == "ask_all":
        ask_all(int(place), int(count), *path)
        return
    part = {part.__name__: part for part in (decisions, spooled, http_decisions, drained)}[name]
    print(json.dumps(part(Path(place), int(count))))


if __name__ == "__main__":
    main(sys.argv[1:])
