"""What a connection costs a worker that knows few servers, and one that knows a million.

For each number of servers one service: its changelog is written beforehand, with a state and a row of the due index
for each server. A shipped worker restores it and works off the same number of connections; then it is killed, and
started again over its RocksDB for more. The sizes take turns. One part comes from all servers equally often, the next
one as real mail does: most from few (Zipf's law). In the end what was written is compared with the fold of the rules.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import shlex
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.broker import RaceKafka
from benchmarks.check import Ends, check_product, committed, ends_of, output_topics
from benchmarks.engines import WORKER
from benchmarks.environment import CACHE_DIR, COMMITTED_DIR, machine
from benchmarks.feed import SPAN_MS, Feed, Fleet, connections
from benchmarks.known import KnownServers, KnownSimulation, shipped_rules
from benchmarks.load import write
from benchmarks.measure import Meter, peak_rss_mib
from benchmarks.oracle import ProductOutcome, outcome_of
from benchmarks.report import DISTURBED_SHARE
from benchmarks.waits import committed_offsets, run_of, settings_of, started, until
from benchmarks.worker_log import is_restored
from streams.dev.embedded_kafka import ensure_jars
from streams.engine.partition import state_format
from streams.engine.partition.unit import MARKER
from streams.kafka.provisioning import create_topics
from streams.kafka.topics import TOPICS
from streams.state.keys import POLICIES_KEY
from streams.state.row_format import STATE_FORMAT
from streams.wire.codec import AvroCodec
from streams.wire.records import connection_of
from streams.wire.registry import LocalRegistry

SIZES = (10_000, 100_000, 1_000_000)
EVENTS, ROUNDS = 150_000, 3
LOADS = ("uniform", "skewed")
SEEN = 33
"""Connections of each server before: all marks of its last 32 are there, as with a server that is known for long."""
BEHIND_MS = 60_000
POLL_SECONDS, WAIT_SECONDS = 0.05, 300.0
STALE_SECONDS = 2_400.0
"""From then on the rows of servers seen first may come due: that would be other work."""
ALLOWED_RATIO = 1.5
Watch = Callable[[int], AbstractContextManager[None]]
"""What looks at a process while it works the connections off."""


@dataclass(frozen=True)
class Plan:
    """The parts of the connections of one service: per round one of each load; `end_ms` is the last one's moment."""

    servers: int
    events: int
    rounds: int
    loads: tuple[str, ...]
    end_ms: int

    @property
    def begin_ms(self) -> int:
        """Before the first connection; the servers were seen until then."""
        return self.end_ms - SPAN_MS - BEHIND_MS

    def parts(self) -> list[Feed]:
        """The feeds, in their order."""
        loads = [load for _ in range(self.rounds) for load in self.loads]
        whole = len(loads) * self.events
        return [
            Feed(self.events, self.servers, self.end_ms, whole, number * self.events, load == "skewed")
            for number, load in enumerate(loads)
        ]

    def known(self, fleet: Fleet) -> KnownServers:
        """The states that the worker has before."""
        return KnownServers(fleet, self.begin_ms, SEEN)


@dataclass
class Part:
    """What one part of the connections took; microseconds are per connection."""

    servers: int
    load: str
    round: int
    engine_us: float
    broker_us: float
    seconds: float
    start_seconds: float
    restored_rss_mib: int
    peak_rss_mib: int
    store_mib: int
    units: int
    rows_per_unit: int
    others_share: float


@dataclass
class Service:
    """A service that knows so many servers, between its parts."""

    plan: Plan
    bootstrap: str
    broker: int
    folder: Path
    watch: Watch = field(default=lambda _: nullcontext())
    fleet: Fleet = field(init=False)
    done: int = 0
    begin: Ends = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.plan.servers)
        self.settings = settings_of(self.bootstrap, f"servers{self.plan.servers}", self.folder)
        self.run = run_of(self.settings, self.folder)

    async def prepare(self) -> None:
        """Write the changelog of a worker that knows the servers and the policies."""
        settings = self.settings
        await create_topics(settings)
        rows = self.plan.known(self.fleet).changelog_rows()
        first = state_format.new_rows(b"%d" % STATE_FORMAT) | {POLICIES_KEY: shipped_rules().fingerprint.encode()}
        await write(self.bootstrap, settings.changelog, settings.partitions, rows, first)
        self.begin = await ends_of(self.bootstrap, [settings.changelog, *output_topics(self.run, WORKER)])

    async def part(self, number: int, feed: Feed, load: str) -> Part:
        """Load one part, and let a worker work it off."""
        settings, codec = self.settings, AvroCodec("inbound_connection", LocalRegistry())
        rows = (
            (row["tenant_id"], row["tenant_id"].encode(), codec.encode(row)) for _, row in connections(feed, self.fleet)
        )
        topic = settings.topic(TOPICS["inbound_connection"])
        await write(self.bootstrap, topic, settings.partitions, rows, {})
        self.done += feed.count
        before = await ends_of(self.bootstrap, [settings.changelog])
        figures = await self._worked_off(feed.count, self.folder / f"part{number}-{load}.log")
        units = count = 0
        async for row in committed(self.bootstrap, settings.changelog, before):
            units += row.key == MARKER
            count += 1
        size = sum(path.stat().st_size for path in self.folder.rglob("*.sst"))
        return Part(
            self.plan.servers,
            load,
            number,
            **figures,
            store_mib=round(size / 2**20),
            units=units,
            rows_per_unit=round(count / max(1, units)),
        )

    async def _worked_off(self, count: int, log: Path) -> dict[str, Any]:
        """Measure from the moment when all partitions are restored to the one when everything is committed."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        started_at = time.monotonic()
        try:
            with started(WORKER, self.run, log) as process:
                meter = Meter([process.pid], self.broker)
                await asyncio.to_thread(until, partial(is_restored, log, self.settings.partitions), process, log)
                restored_rss = peak_rss_mib(process.pid)
                first = last = meter.sample(await committed_offsets(admin, self.settings))
                start_seconds, deadline = time.monotonic() - started_at, time.monotonic() + WAIT_SECONDS
                with self.watch(process.pid):
                    while last.events < self.done:
                        if process.poll() is not None or time.monotonic() > deadline:
                            raise RuntimeError(f"{log}: ended, or not done: {last.events} of {self.done} committed")
                        await asyncio.sleep(POLL_SECONDS)
                        last = meter.sample(await committed_offsets(admin, self.settings))
                rss = meter.peak_rss_mib()
        finally:
            await admin.close()
        events, seconds = last.events - first.events, last.at - first.at
        if events < count / 2:
            raise RuntimeError(f"{log}: {events} of {count} connections were left when it was ready: too few")
        mine = sum(getattr(last, name) - getattr(first, name) for name in ("engine", "broker", "own"))
        return {
            "engine_us": round((last.engine - first.engine) / events * 1e6, 2),
            "broker_us": round((last.broker - first.broker) / events * 1e6, 2),
            "seconds": round(seconds, 2),
            "start_seconds": round(start_seconds, 2),
            "restored_rss_mib": round(restored_rss),
            "peak_rss_mib": round(rss),
            "others_share": round(max(0.0, last.busy - first.busy - mine) / seconds, 2),
        }

    async def check(self, wanted: ProductOutcome) -> list[str]:
        """What differs from the fold: outputs, and the states of all servers that connected."""
        return await check_product(self.run, self.begin, wanted)


def wanted_of(plan: Plan, share: int = 0, shares: int = 1) -> ProductOutcome:
    """What all parts must end with; of several shares of the tenants, only one."""
    fleet = Fleet(plan.servers)
    simulation = KnownSimulation(plan.known(fleet), fleet)
    for feed in plan.parts():
        for _, record in connections(feed, fleet):
            if zlib.crc32(record["tenant_id"].encode()) % shares == share:
                simulation.feed(connection_of(record))
    return outcome_of(simulation)


def _folded(plans: list[Plan], shares: int = 2) -> Iterator[ProductOutcome]:
    # Spawned, not forked: the broker is a child of a thread of this process.
    with ProcessPoolExecutor(shares, mp_context=multiprocessing.get_context("spawn")) as pool:
        all_folds = [[pool.submit(wanted_of, plan, share, shares) for share in range(shares)] for plan in plans]
        for folds in all_folds:
            outcome = ProductOutcome()
            for fold in folds:
                outcome.add(fold.result())
            yield outcome


def measure(kafka: RaceKafka, sizes: list[int], events: int, rounds: int, loads: tuple[str, ...]) -> dict[str, Any]:
    """All parts of all sizes in turn, and what the check found of each size."""
    begin = time.time()
    services = [
        Service(
            Plan(size, events, rounds, loads, round(begin * 1000) - BEHIND_MS),
            kafka.bootstrap,
            kafka.pid,
            CACHE_DIR / "servers" / str(size),
        )
        for size in sizes
    ]
    for service in services:
        _say(f"writing the changelog of {service.plan.servers:,} servers")
        service.folder.mkdir(parents=True)
        asyncio.run(service.prepare())
    parts = []
    for index in range(rounds * len(loads)):
        number, load = index // len(loads) + 1, loads[index % len(loads)]
        turn = index % len(services)
        for service in services[turn:] + services[:turn]:
            if time.time() - begin > STALE_SECONDS:
                raise RuntimeError("it took too long: timers of the servers would come up; measure fewer parts")
            parts.append(asyncio.run(service.part(number, service.plan.parts()[index], load)))
            _say(str(parts[-1]))
    _say("folding the connections through the rules, and comparing")
    wrong = {}
    for service, wanted in zip(services, _folded([service.plan for service in services]), strict=True):
        wrong[str(service.plan.servers)] = asyncio.run(service.check(wanted))
    return {"parts": [asdict(part) for part in parts], "wrong": wrong}


def _say(text: str) -> None:
    print(f"servers: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def ratio_of(parts: list[dict[str, Any]], load: str) -> float:
    """Microseconds of the most servers against those of the fewest: the median of the rounds' ratios."""
    found = [part for part in parts if part["load"] == load]
    low, high = min(part["servers"] for part in found), max(part["servers"] for part in found)
    by = {(part["round"], part["servers"]): part["engine_us"] for part in found}
    ratios: list[float] = [by[number, high] / by[number, low] for number in {part["round"] for part in found}]
    return median(ratios)


_COLUMNS = {
    "engine µs": ("engine_us", 1),
    "broker µs": ("broker_us", 1),
    "rows a unit": ("rows_per_unit", 0),
    "units": ("units", 0),
    "RSS MiB": ("peak_rss_mib", 0),
    "RocksDB MiB": ("store_mib", 0),
    "start s": ("start_seconds", 1),
}


def document(found: dict[str, Any]) -> str:
    """The figures as Markdown: medians over the rounds, the most for memory."""
    about, parts = found["machine"], found["parts"]
    text = (
        f"# Servers, {found['date']}\n\n`{found['command']}` at {about['commit']}: {about['cores']} cores of "
        f"{about['cpu']}, {about['memory_gib']} GiB, Linux {about['kernel']}; broker, worker and measurement on the "
        f"same cores.\n\nWhat the columns mean: [README.md](README.md).\n"
    )
    for load in dict.fromkeys(part["load"] for part in parts):
        mine = [part for part in parts if part["load"] == load]
        text += f"\n## {load}\n\n| servers | result | {' | '.join(_COLUMNS)} | rounds, disturbed |\n"
        text += "| --- " * (len(_COLUMNS) + 3) + "|\n"
        for size in dict.fromkeys(part["servers"] for part in sorted(mine, key=lambda part: int(part["servers"]))):
            rows = [part for part in mine if part["servers"] == size]
            cells = [
                f"{(max if name == 'peak_rss_mib' else median)(row[name] for row in rows):,.{digits}f}"
                for name, digits in _COLUMNS.values()
            ]
            disturbed = sum(row["others_share"] > DISTURBED_SHARE for row in rows)
            wrong = "; ".join(found["wrong"][str(size)]) or "equal"
            text += f"| {size:,} | {wrong} | {' | '.join(cells)} | {len(rows)}, {disturbed} |\n"
        text += f"\nMost to fewest servers, engine µs: {ratio_of(parts, load):.2f} (aim: at most {ALLOWED_RATIO}).\n"
    return text


def main(argv: list[str]) -> int:
    """Measure, and write `servers-<date>.md` and `.json`; exit code 1 when a worker was wrong."""
    parser = argparse.ArgumentParser(prog="scripts/bench servers", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--sizes", type=_sizes, default=list(SIZES), metavar="N,N", help="servers (10000,100000,1000000)"
    )
    parser.add_argument("--events", type=int, default=EVENTS, metavar="N", help="connections of a part (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="rounds (%(default)s)")
    parser.add_argument("--load", choices=LOADS, help="only one of the loads")
    parser.add_argument("--out", type=Path, default=COMMITTED_DIR, metavar="DIR", help="where the figures go")
    arguments = parser.parse_args(argv)
    WORKER.prepare()
    folder = CACHE_DIR / "servers"
    shutil.rmtree(folder, ignore_errors=True)
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": shlex.join(["scripts/bench", "servers", *argv]),
        "machine": machine(),
        "events": arguments.events,
    }
    loads = (arguments.load,) if arguments.load else LOADS
    with RaceKafka(folder / "kafka", jars_dir=ensure_jars()) as kafka:
        found |= measure(kafka, arguments.sizes, arguments.events, arguments.rounds, loads)
    shutil.rmtree(folder, ignore_errors=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = document(found)
    name = f"servers-{found['date']}"
    (arguments.out / f"{name}.md").write_text(text, encoding="utf-8")
    (arguments.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(text)
    return 1 if any(found["wrong"].values()) else 0


def _sizes(text: str) -> list[int]:
    sizes = [int(part) for part in text.split(",")]
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text}: each must be at least 1")
    return sizes
