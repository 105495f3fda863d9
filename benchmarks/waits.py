"""How long one waits: from an event to its verdict, for a worker's start, and for a state to come back from Kafka.

All of it with the shipped worker on a real Kafka, beside Kafka Streams with the comparable job. For the verdicts,
connections are sent at a steady rate; a hundred a second come from servers not seen before whose builds are not
accepted, so that they get verdicts. Kafka Streams commits every 100 ms; the two take turns. For the restore, the
changelog of many servers is written beforehand, a state and a row of the due index for each; Kafka Streams gets as many
states of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError

from benchmarks.broker import RaceKafka
from benchmarks.engines import ENGINES, PEER_VERDICTS_TOPIC, WORKER, Engine, Run
from benchmarks.environment import CACHE_DIR, COMMITTED_DIR, machine
from benchmarks.feed import Feed, Fleet, connections
from benchmarks.known import KnownServers, shipped_rules
from benchmarks.load import Row, produce, write
from benchmarks.measure import peak_rss_mib
from benchmarks.peers.job import STATE, decode_verdict
from benchmarks.worker_log import RESTORED, is_restored, logged, moment
from streams.dev.embedded_kafka import ensure_jars
from streams.engine.partition import state_format
from streams.kafka.provisioning import create_topics
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.state.keys import POLICIES_KEY
from streams.state.row_format import STATE_FORMAT
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry

RATES = (1_000, 10_000)
SECONDS, SETTLING_SECONDS = 30, 6
"""How long connections are sent at one rate, and how much of it does not count."""
NEW_SERVERS_PER_SECOND = 100
STREAMS = next(engine for engine in ENGINES if engine.name == "Kafka Streams exactly_once_v2")
STREAMS_OFTEN = next(engine for engine in ENGINES if "every 100 ms" in engine.name)
_STREAMS_RESTORED = re.compile(r"RESTORED (\d+) (\d+)")
WAIT_SECONDS = 600.0
STEP_SECONDS = 0.01


def _say(text: str) -> None:
    print(f"waits: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@contextmanager
def started(engine: Engine, run: Run, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One process of an engine, killed at the end of the block; its output goes to `log`."""
    process = engine.start(run)[0]
    environment = dict(os.environ) | process.environment
    with log.open("wb") as out:
        popen = subprocess.Popen(process.command, env=environment, cwd=process.folder, stdout=out, stderr=out)
        try:
            yield popen
        finally:
            popen.kill()
            popen.wait()


def settings_of(bootstrap: str, name: str, folder: Path) -> Settings:
    """A service of its own; its log tells events as JSON lines."""
    return Settings(
        bootstrap=bootstrap,
        app_id=name,
        topic_prefix=f"{name}.",
        state_dir=str(folder),
        web_port=0,
        log_format="json",
        instance_id="waits",
    )


def run_of(settings: Settings, folder: Path) -> Run:
    """One worker of it."""
    return Run(settings, settings.topic(TOPICS["inbound_connection"]), 1, folder)


def until(is_there: Callable[[], Any], process: subprocess.Popen[bytes], log: Path) -> Any:
    """Wait for something.

    Raises:
        RuntimeError: the process ended, or it took too long.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := is_there()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{log}: ended with {process.returncode}, or not done after {WAIT_SECONDS:.0f} s")
        time.sleep(STEP_SECONDS)
    return found


# --- from an event to its verdict ---


@dataclass(frozen=True)
class Waiting:
    """An engine whose verdicts are waited for: the topic it writes them to, and how a value's server is read."""

    engine: Engine
    topic: str
    server_of: Callable[[bytes], str]


def waiting_engines() -> list[Waiting]:
    """The worker, and Kafka Streams committing as often."""
    codec = AvroCodec("verdict", LocalRegistry())
    return [
        Waiting(WORKER, TOPICS["verdict"], lambda value: str(codec.decode(value)["server"])),
        Waiting(STREAMS_OFTEN, PEER_VERDICTS_TOPIC, lambda value: str(decode_verdict(value)["server"])),
    ]


async def latencies(bootstrap: str, folder: Path, waiting: Waiting, rate: int, name: str) -> list[float]:
    """Seconds from sending a connection to reading its verdict, sorted; at `rate` connections a second."""
    settings = settings_of(bootstrap, name, folder / name)
    verdicts = settings.topic(waiting.topic)
    await create_topics(settings)
    await _create(bootstrap, NewTopic(verdicts, settings.partitions, 1))
    Path(settings.state_dir).mkdir(parents=True)
    with started(waiting.engine, run_of(settings, folder / name), folder / f"{name}.log"):
        # Whoever has written a verdict is ready.
        await produce(settings, settings.topic(TOPICS["inbound_connection"]), Feed(200, 200, round(time.time() * 1000)))
        await _first_verdict(bootstrap, verdicts)
        sent: dict[str, float] = {}
        reading = asyncio.create_task(_read_verdicts(bootstrap, verdicts, waiting.server_of, sent))
        await _send(settings, rate, _values(rate, round(time.time() * 1000)), sent)
        return sorted(await reading)


async def _create(bootstrap: str, *topics: NewTopic) -> None:
    """Create topics; one that exists stays."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics(list(topics))
    finally:
        await admin.close()


def measure_latencies(bootstrap: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Medians over rounds of both engines' percentiles, by rate; the engines take turns."""
    found: dict[str, Any] = {}
    for rate in RATES:
        rows: dict[str, list[tuple[float, float, int]]] = {}
        for number in range(rounds):
            for place, waiting in enumerate(waiting_engines()):
                waits = asyncio.run(latencies(bootstrap, folder, waiting, rate, f"rate{rate}-{number}-{place}"))
                cuts = quantiles(waits, n=100)
                rows.setdefault(waiting.engine.name, []).append((cuts[49] * 1000, cuts[98] * 1000, len(waits)))
                _say(f"{rate:,} connections/s: {waiting.engine.name}: p50 {cuts[49]:.3f} s, p99 {cuts[98]:.3f} s")
        found[f"latency_at_{rate}_per_second"] = {
            name: {
                "p50_ms": round(median(row[0] for row in some), 1),
                "p99_ms": round(median(row[1] for row in some), 1),
                "rounds": [[round(row[0], 1), round(row[1], 1)] for row in some],
                "verdicts": sum(row[2] for row in some),
            }
            for name, some in rows.items()
        }
    return found


def _values(rate: int, begin_ms: int) -> list[tuple[bytes, bytes, str]]:
    """Key, value, and the name of a new server, of every connection; made beforehand, so that sending costs little."""
    codec = AvroCodec("inbound_connection", LocalRegistry())
    rows = [row for build, row in connections(Feed(20_000, 2_000, begin_ms)) if build is not None]
    values = []
    for number in range(rate * SECONDS):
        row = rows[number % len(rows)]
        row = row | {"event_id": f"wait-{number}", "observed_at": begin_ms + number * 1000 // rate}
        host = ""
        if number % (rate // NEW_SERVERS_PER_SECOND) == 0:
            host = f"new{number:07d}.example.net"
            line = f"from a.example (192.0.2.1) by {host} (192.0.2.2) with Microsoft SMTP Server id 15.0.1497.48; date"
            row |= {"received": [line], "helo": host, "connector_type": "ON_PREMISES"}
        values.append((row["tenant_id"].encode(), codec.encode(row), host))
    return values


async def _send(settings: Settings, rate: int, values: list[tuple[bytes, bytes, str]], sent: dict[str, float]) -> None:
    topic = settings.topic(TOPICS["inbound_connection"])
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap, linger_ms=0) as producer:
        begin = time.monotonic()
        for number, (key, value, host) in enumerate(values):
            if host and number > rate * SETTLING_SECONDS:
                sent[host] = time.monotonic()
            await producer.send(topic, value, key)
            ahead = begin + number / rate - time.monotonic()
            if ahead > 0.001:
                await asyncio.sleep(ahead)


async def _read_verdicts(
    bootstrap: str, topic: str, server_of: Callable[[bytes], str], sent: dict[str, float]
) -> list[float]:
    found: list[float] = []
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=10,
        group_id=None,
    )
    async with consumer:
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 10 or not found:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                now = quiet_since = time.monotonic()
                for record in records:
                    at = sent.pop(server_of(record.value), None)
                    if at is not None:
                        found.append(now - at)
    return found


# --- restore and start ---


def streams_rows(servers: int) -> Iterator[Row]:
    """Tenant and row of the changelog of Kafka Streams' job."""
    at = round(time.time() * 1000)
    for number in range(servers):
        tenant = f"tenant-{number // 5:06d}"
        key = f"{tenant}/ex{number % 5}.mail.t{number // 5:06d}.example.net"
        yield tenant, key.encode(), STATE.pack(at, at, 1, 0) + b"15.2.2562.17"


async def _one_connection(settings: Settings) -> None:
    await produce(settings, settings.topic(TOPICS["inbound_connection"]), Feed(200, 200, round(time.time() * 1000)))


async def committed_offsets(admin: AIOKafkaAdminClient, settings: Settings) -> int:
    """The group's committed offsets of its inputs, added up."""
    with suppress(GroupCoordinatorNotAvailableError):
        offsets = await admin.list_consumer_group_offsets(settings.app_id)
        return sum(max(0, found.offset) for found in offsets.values())
    return 0


async def first_commit(settings: Settings, folder: Path, log: Path) -> tuple[float, float, float]:
    """Start a worker with records waiting: seconds to its state, seconds to its first commit, and its peak MiB."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        before, begin = await committed_offsets(admin, settings), time.monotonic()
        with started(WORKER, run_of(settings, folder), log) as process:
            await asyncio.to_thread(until, partial(is_restored, log, settings.partitions), process, log)
            restored = time.monotonic() - begin
            async with asyncio.timeout(WAIT_SECONDS):
                while await committed_offsets(admin, settings) <= before:
                    await asyncio.sleep(STEP_SECONDS)
            return restored, time.monotonic() - begin, peak_rss_mib(process.pid)
    finally:
        await admin.close()


def restore_worker(bootstrap: str, folder: Path, servers: int) -> dict[str, Any]:
    """A worker's restore of so many servers, its start without any state, and with a RocksDB that was kept."""
    settings = settings_of(bootstrap, f"restore{servers}", folder)
    asyncio.run(create_topics(settings))
    # Without the policies that it knows, a worker would look at every server again, beside its start.
    known = {POLICIES_KEY: shipped_rules().fingerprint.encode()}
    first = state_format.new_rows(b"%d" % STATE_FORMAT) | known
    rows = KnownServers(Fleet(servers), round(time.time() * 1000)).changelog_rows()
    size = asyncio.run(write(bootstrap, settings.changelog, settings.partitions, rows, first))
    asyncio.run(_one_connection(settings))
    log = folder / "restore.log"
    restored, _, rss = asyncio.run(first_commit(settings, folder, log))
    fenced = min(moment(line) for line in logged(log, "partition_fenced"))
    done = max(moment(line) for line in logged(log, RESTORED))
    asyncio.run(_one_connection(settings))
    kept, kept_commit, _ = asyncio.run(first_commit(settings, folder, folder / "kept.log"))
    return {
        "servers": servers,
        "rows": 2 * servers,
        "mib": round(size / 2**20),
        "seconds": round(done - fenced, 2),
        "rows_per_second": round(2 * servers / (done - fenced)),
        "start_to_state_seconds": round(restored, 2),
        "peak_rss_mib": round(rss),
        "kept_rocksdb_start_to_state_seconds": round(kept, 2),
        "kept_rocksdb_start_to_first_commit_seconds": round(kept_commit, 2),
    }


def start_empty(bootstrap: str, folder: Path) -> float:
    """Seconds from the start of a worker without any state to the first verdict that can be read."""
    settings = settings_of(bootstrap, "empty", folder)
    asyncio.run(create_topics(settings))
    asyncio.run(_one_connection(settings))
    log = folder / "empty.log"
    begin = time.monotonic()
    with started(WORKER, run_of(settings, folder), log):
        asyncio.run(_first_verdict(bootstrap, settings.topic(TOPICS["verdict"])))
        return time.monotonic() - begin


async def _first_verdict(bootstrap: str, topic: str) -> None:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        group_id=None,
        fetch_max_wait_ms=10,
    )
    async with consumer, asyncio.timeout(WAIT_SECONDS):
        await consumer.getone()


def restore_streams(bootstrap: str, folder: Path, servers: int) -> dict[str, Any]:
    """Kafka Streams' restore of as many states."""
    settings = settings_of(bootstrap, f"streams{servers}", folder)
    asyncio.run(create_topics(settings))
    changelog = f"{settings.app_id}-servers-changelog"

    asyncio.run(
        _create(
            bootstrap,
            NewTopic(changelog, settings.partitions, 1, topic_configs={"cleanup.policy": "compact"}),
            NewTopic(settings.topic(PEER_VERDICTS_TOPIC), settings.partitions, 1),
        )
    )
    size = asyncio.run(write(bootstrap, changelog, settings.partitions, streams_rows(servers), {}))
    asyncio.run(_one_connection(settings))
    log = folder / "streams.log"
    with started(STREAMS, run_of(settings, folder), log) as process:
        lines = until(
            lambda: len(found := _STREAMS_RESTORED.findall(log.read_text())) == settings.partitions and found,
            process,
            log,
        )
    rows, milliseconds = max(((int(count), int(spent)) for count, spent in lines), key=lambda pair: pair[1])
    return {
        "rows": servers,
        "mib": round(size / 2**20),
        "seconds": round(milliseconds / 1000, 2),
        "rows_per_second": round(rows / milliseconds * 1000),
    }


def main(argv: list[str]) -> int:
    """Measure all of it, and write `waits-<date>.json`."""
    parser = argparse.ArgumentParser(prog="scripts/bench waits", description=__doc__.split("\n\n")[0])
    parser.add_argument("--servers", type=int, default=1_000_000, metavar="N", help="servers to restore (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of verdicts (%(default)s)")
    parser.add_argument("--out", type=Path, default=COMMITTED_DIR, metavar="DIR", help="where the figures go")
    arguments = parser.parse_args(argv)
    for engine in (WORKER, STREAMS, STREAMS_OFTEN):
        engine.prepare()
    folder = CACHE_DIR / "waits"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found: dict[str, Any] = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine()}
    with RaceKafka(folder / "kafka", jars_dir=ensure_jars()) as kafka:
        found["start_to_first_verdict_seconds"] = round(start_empty(kafka.bootstrap, folder), 2)
        _say(f"start to first verdict: {found['start_to_first_verdict_seconds']} s")
        found |= measure_latencies(kafka.bootstrap, folder, arguments.rounds)
        found["restore_worker"] = restore_worker(kafka.bootstrap, folder, arguments.servers)
        _say(f"restore, worker: {found['restore_worker']}")
        found["restore_kafka_streams"] = restore_streams(kafka.bootstrap, folder, arguments.servers)
        _say(f"restore, Kafka Streams: {found['restore_kafka_streams']}")
    shutil.rmtree(folder, ignore_errors=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"waits-{found['date']}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    return 0
