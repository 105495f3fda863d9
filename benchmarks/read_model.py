"""How fast the report's read model catches up, and what its questions cost, on SQLite and on PostgreSQL.

Records come from memory, encoded as the topic has them: decoding and writing overlap as in the reader. It runs in the
tree that `scripts/compile` makes, as an image has it.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.environment import CACHE_DIR, compiled
from benchmarks.report_pages import ask_all, served_lines
from streams.database.database import Database
from streams.domain.time import DAY_MS, HOUR_MS
from streams.garbage import tune_gc
from streams.kafka.follower import FETCH_RECORDS
from streams.kafka.places import Place
from streams.report.model.batch import READ, SERVERS
from streams.report.queries.cursors import ensure_key
from streams.report.queries.episodes import count_ahead, reports_in_episode
from streams.report.queries.history import history
from streams.report.queries.servers import (
    ServerFilter,
    Sort,
    count_by_status,
    export_servers,
    list_servers,
    show_server,
)
from streams.report.queries.waivers import waived_servers
from streams.report.reading.decoding import Decoder
from streams.report.store.opening import open_database
from streams.report.store.pending import PendingBatch
from streams.report.store.upkeep import analyze
from streams.report.store.writer import Writer
from streams.settings.report import ReportSettings
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry
from tests.support.postgresql import running_postgresql
from tests.support.report import SOURCE, START, report_record

TENANTS, LARGE = 2_000, "large"
BATCH: Final = FETCH_RECORDS
"""As the reader gets them while it catches up."""
_STATUSES: Final = ("COMPLIANT",) * 6 + ("REPORTED", "THROTTLED", "BLOCKED", "VANISHED")


@dataclass(slots=True)
class Stored:
    """A record as a client fetches it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes


def say(text: str) -> None:
    """One line of what is going on."""
    print(f"bench: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def reports(count: int, first_offset: int, at: int) -> list[Stored]:
    """A report of each of so many servers, half of them of one tenant; a third have a dozen vulnerabilities or two."""
    chance, base, codec = random.Random(1), report_record(), AvroCodec(SERVERS, LocalRegistry(), is_checked=False)
    found = []
    for number in range(count):
        tenant = LARGE if number % 2 else f"tenant-{number // 2 % TENANTS:04d}"
        server = f"mx{number}.site{chance.randrange(977)}.example.com"
        record = base | {
            "tenant_id": tenant,
            "server": server,
            "server_fqdn": server,
            "status": chance.choice(_STATUSES),
            "next_stage_start_date": START + chance.randrange(60) * DAY_MS if chance.random() < 0.3 else None,
            "cves": [f"CVE-2026-{name:04d}" for name in range(number % 3 * 12)],
            "last_seen_at": at - chance.randrange(HOUR_MS),
            "reported_at": at,
            "connections": at - START + 7,
            "accepted": at - START + 5,
            "evidence": {
                "received": f"from a.example (192.0.2.1) by {server} (192.0.2.2) with Microsoft SMTP Server "
                "(version=TLS1_2, cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.1.2507.39; Tue, 1 Sep 2026 "
                "00:00:00 +0000",
                "position": 0,
                "protocol": "Microsoft SMTP Server",
                "event_id": f"event-{number}",
                "message_id": f"<{number}@a.example>",
                "connector_id": "c1",
                "source_ip": "192.0.2.1",
                "observed_at": START,
            },
        }
        key = f"{tenant}/{server}".encode()
        found.append(Stored(SERVERS, 0, first_offset + number, at, key, codec.encode(record)))
    return found


def caught_up(database: Database, records: list[Stored]) -> dict[str, Any]:
    """Decode and write records as the reader does: one batch is decoded and folded while another is written."""
    decoder, writer = Decoder(LocalRegistry(), str), Writer(database, lambda _: None)
    place, sources = Place(SERVERS, 0), dict.fromkeys(READ, SOURCE)
    behind: PendingBatch | None = None
    writing: Future[int] | None = None
    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(1) as threads:
        for begin in range(0, len(records), BATCH):
            some = records[begin : begin + BATCH]
            batch = decoder.decode(some, sources)
            batch.begins, batch.ends = {place: some[0].offset}, {place: some[-1].offset + 1}
            pending = PendingBatch(batch)
            if writing is not None and behind is not None:
                either: tuple[Future[Any], ...] = (behind.is_folded, writing)
                wait(either, return_when=FIRST_COMPLETED)
                if not writing.done():
                    writer.fold_ahead(pending, behind)
                writing.result()
            behind, writing = pending, threads.submit(writer.write, batch, pending)
        if writing is not None:
            writing.result()
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    return {
        "records_per_second": round(len(records) / seconds),
        "own_cpu_us_per_record": round(spent / len(records) * 1e6, 1),
    }


def written(database: Database, records: list[Stored]) -> dict[str, Any]:
    """Write records that are decoded already: what the database and its rows cost alone."""
    decoder, writer = Decoder(LocalRegistry(), str), Writer(database, lambda _: None)
    place, sources = Place(SERVERS, 0), dict.fromkeys(READ, SOURCE)
    seconds = 0.0
    for begin in range(0, len(records), BATCH):
        some = records[begin : begin + BATCH]
        batch = decoder.decode(some, sources)
        batch.begins, batch.ends = {place: some[0].offset}, {place: some[-1].offset + 1}
        began = time.perf_counter()
        writer.write(batch)
        seconds += time.perf_counter() - began
    return {"records_per_second": round(len(records) / seconds)}


def timed(act: Callable[[], object], times: int = 200) -> dict[str, float]:
    """The middle and the 99th percentile of some calls, in ms."""
    act()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1e3)
    taken.sort()
    return {"p50_ms": round(taken[times // 2], 2), "p99_ms": round(taken[times * 99 // 100], 2)}


def questions(database: Database) -> dict[str, Any]:
    """What questions of the large tenant cost, each with its transaction."""
    key = ensure_key(database)

    def page(**asked: Any) -> Any:
        with database.reading(LARGE) as connection:
            return list_servers(connection, LARGE, key=key, **asked)

    cursor = None
    for _ in range(40):
        cursor = page(limit=1000, cursor=cursor, sort=Sort.NAME).cursor
    one = page(limit=1).rows[0].server

    def with_connection(ask: Callable[[Any], object]) -> Callable[[], object]:
        def asking() -> object:
            with database.reading(LARGE) as connection:
                return ask(connection)

        return asking

    day = START // DAY_MS
    found = {
        "page of 50": timed(page),
        "page of 50 behind 40,000": timed(lambda: page(sort=Sort.NAME, cursor=cursor)),
        "filtered page": timed(lambda: page(wanted=ServerFilter(frozenset({"BLOCKED", "THROTTLED"})))),
        "search, many found": timed(lambda: page(wanted=ServerFilter(search="site1"))),
        "search, few found": timed(lambda: page(wanted=ServerFilter(search="mx19999"))),
        "search, none found": timed(lambda: page(wanted=ServerFilter(search="contoso"))),
        "one server": timed(with_connection(lambda connection: show_server(connection, LARGE, one))),
        "counts": timed(with_connection(lambda connection: count_by_status(connection, LARGE))),
        "exceptions and overrides": timed(with_connection(lambda connection: waived_servers(connection, LARGE, START))),
        "what comes, counted": timed(with_connection(lambda connection: count_ahead(connection, LARGE))),
        "furthest 500 reports": timed(with_connection(lambda connection: reports_in_episode(connection, LARGE, 500))),
        "history of 90 days": timed(with_connection(lambda connection: history(connection, LARGE, day, day + 89))),
    }
    began, rows = time.perf_counter(), 0
    for part in export_servers(database, LARGE):
        rows += len(part)
    found["export"] = {"rows_per_second": round(rows / (time.perf_counter() - began))}
    return found


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, Callable[[], ReportSettings]]]:
    """Settings of empty databases by kind, others each time."""
    with running_postgresql(is_durable=True) as server:
        number = iter(range(100))
        yield {
            "SQLite": lambda: ReportSettings(directory=str(folder / str(next(number)))),
            "PostgreSQL": lambda: ReportSettings(database=server.make_database()),
        }


def measure(count: int) -> dict[str, Any]:
    """All of it."""
    folder = CACHE_DIR / "report"
    shutil.rmtree(folder, ignore_errors=True)
    say(f"encoding {count:,} reports twice")
    first, second = reports(count, 0, START + HOUR_MS), reports(count, count, START + 2 * HOUR_MS)
    decoder = Decoder(LocalRegistry(), str)
    began = time.perf_counter()
    decoder.decode(first[:20_000], dict.fromkeys(READ, SOURCE))
    found: dict[str, Any] = {
        "decoded": {"records_per_second": round(min(count, 20_000) / (time.perf_counter() - began))},
        "bytes_per_record": round(sum(len(record.value) for record in first) / count),
    }
    with databases(folder) as made:
        for name, make in made.items():
            settings = make()
            database = open_database(settings)
            database.migrate()
            rows: dict[str, Any] = {"new": caught_up(database, first)}
            rows["again"] = caught_up(database, second)
            rows["database_bytes_per_server"] = round(database.size_bytes() / count)
            analyze(database)
            say(f"{name}: {json.dumps(rows)}")
            rows["questions"] = questions(database)
            database.close()
            rows["served"] = asyncio.run(ask_all(settings, LARGE))
            say(f"{name}: {json.dumps(rows['served'])}")
            alone = open_database(make())
            alone.migrate()
            rows["written_alone"] = written(alone, first)
            alone.close()
            say(f"{name}: {json.dumps(rows['questions'])}, {json.dumps(rows['written_alone'])}")
            found[name] = rows
    shutil.rmtree(folder, ignore_errors=True)
    return found


def lines_of(found: dict[str, Any], count: int) -> list[str]:
    """What the report of the benchmark says of it."""
    kinds = [kind for kind in found if isinstance(found[kind], dict) and "questions" in found[kind]]
    return [
        f"{count:,} servers, half of them of one tenant; {found['bytes_per_record']} bytes each.",
        f"Decoding alone: {found['decoded']['records_per_second']:,} records a second.",
        "",
        "| records a second | " + " | ".join(kinds) + " |",
        "|---|" + "---|" * len(kinds),
        *(
            f"| {title} | " + " | ".join(f"{found[kind][name]['records_per_second']:,}" for kind in kinds) + " |"
            for name, title in (
                ("new", "decoded and written, new servers"),
                ("again", "decoded and written, known servers"),
                ("written_alone", "written, new servers, decoded before"),
            )
        ),
        "",
        "| question of a tenant with half of them, p50 / p99 in ms | " + " | ".join(kinds) + " |",
        "|---|" + "---|" * len(kinds),
        *(
            f"| {name} | "
            + " | ".join("{p50_ms} / {p99_ms}".format(**found[kind]["questions"][name]) for kind in kinds)
            + " |"
            for name in found[kinds[0]]["questions"]
            if name != "export"
        ),
        "",
        "Export: "
        + ", ".join(f"{found[kind]['questions']['export']['rows_per_second']:,} rows/s ({kind})" for kind in kinds)
        + ". Disk: "
        + ", ".join(f"{found[kind]['database_bytes_per_server']:,} bytes a server ({kind})" for kind in kinds)
        + ".",
        "",
        *served_lines(found, kinds),
    ]


def measure_compiled(count: int) -> dict[str, Any]:
    """What `measure` finds in a process of the compiled tree."""
    command = [sys.executable, "-m", "benchmarks.read_model", str(count)]
    done = subprocess.run(command, cwd=compiled(), stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    tune_gc()
    print(json.dumps(measure(int(sys.argv[1]))))
