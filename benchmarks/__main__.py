"""`scripts/bench`: the race, how long one waits, the profile of a worker, and the guard against slowing down."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from benchmarks import edge, guard, notify, profiling, report_run, servers, waits
from benchmarks.broker import RaceKafka
from benchmarks.engines import Engine, chosen
from benchmarks.environment import CACHE_DIR, COMMITTED_DIR, REPOSITORY, MissingToolError, machine
from benchmarks.load import Loaded, load
from benchmarks.race import Figures, run_engine
from benchmarks.report import document
from streams.dev.embedded_kafka import ensure_jars
from streams.dev.java import EmbeddedKafkaError

EVENTS, WARM_EVENTS, QUICK_EVENTS = 400_000, 2_000_000, 50_000
ROUNDS, SERVERS = 3, 10_000
SCRATCH_DIR = REPOSITORY / "results" / "bench"
_COMMANDS = """commands, each with a --help of its own:
  profile   sample the stacks of a worker while it reads the feed, and write where its time goes
  waits     seconds, not CPU: from sending a connection to reading its verdict (median and 99th percentile, at 1,000 and
            10,000 connections a second); from the start of a worker without a state to its first verdict; and until a
            started worker has the state of a million servers again, from Kafka's changelog and from the RocksDB it kept
            (Kafka Streams from its changelog, for comparison)
  servers   CPU of a connection and memory of a worker that knows 10 thousand, 100 thousand and a million servers
  edge      what the edge costs a real Postfix, beside milters that do nothing; decisions, spool, HTTP
  report    how fast the report's tables catch up, and what questions cost, on SQLite and PostgreSQL; from a connection
            on the feed to its row in an answer; the page in chromium on slow 4G
  notify    how many notices the sender delivers on one core by webhook and by mail, on SQLite and PostgreSQL, and how
            long they take to healthy destinations beside slow and dead ones
  guard     fail if the worker's CPU per event, against the pure-Python floor's, is 1.3 times the committed ratio

examples:
  scripts/bench                                   the whole race, to be committed (about an hour)
  scripts/bench --quick                           50,000 connections, one round
  scripts/bench --only worker,streams --rounds 1  some engines, by parts of their names
  scripts/bench profile                           where a worker's time goes
  scripts/bench waits                             from event to verdict, start, restore
  scripts/bench waits --servers 100000            a tenth of the servers to restore
  scripts/bench servers                           what a connection costs with a million servers known
  scripts/bench edge                              what a message costs beside Postfix
  scripts/bench report                            how fast the report's tables catch up
  scripts/bench report --only feed,page           from the feed to the page, and the page on a slow line
  scripts/bench notify                            what the sender delivers on one core
  scripts/bench guard                             has the worker become slower
  scripts/bench guard --record                    commit another ratio, after a change that is meant to move it"""


def build_parser() -> argparse.ArgumentParser:
    """The options of the race; the other commands have parsers of their own."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        usage="scripts/bench [options] | profile | waits | servers | edge | report | notify | guard",
        description="Races the shipped worker against other stream processors: CPU per event, throughput, memory.",
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_EVENTS:,} connections, one round, no long feed")
    parser.add_argument("--events", type=_positive, metavar="N", help=f"connections ({EVENTS:,})")
    parser.add_argument("--rounds", type=_positive, metavar="N", help=f"rounds ({ROUNDS})")
    parser.add_argument(
        "--warm-events", type=int, metavar="N", help=f"length of the long feed, 0 for none ({WARM_EVENTS:,})"
    )
    parser.add_argument("--servers", type=_positive, default=SERVERS, metavar="N", help="servers (%(default)s)")
    parser.add_argument("--only", default="", metavar="A,B", help="engines whose names contain one of these")
    parser.add_argument("--skip", default="", metavar="A,B", help="not these engines")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report goes (see README)")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return value


class Races:
    """Feeds on one broker, loaded anew before they are too old, and the runs over them."""

    def __init__(self, kafka: RaceKafka, servers: int, has_worker: bool) -> None:
        self._kafka, self._servers, self._has_worker = kafka, servers, has_worker
        self._loaded: Loaded | None = None
        self._count = 0

    def _feed(self, events: int, engine: Engine) -> Loaded:
        is_stale = engine.is_product and self._loaded is not None and self._loaded.is_stale()
        if self._loaded is None or self._loaded.feed.count != events or is_stale:
            self._count += 1
            _say(f"loading {events:,} connections and folding them, feed {self._count}")
            name, folder = f"feed{self._count}", CACHE_DIR / "runs"
            self._loaded = load(self._kafka.bootstrap, name, events, self._servers, folder, self._has_worker)
        return self._loaded

    def round(self, engines: list[Engine], events: int, number: int) -> list[Figures]:
        """Every engine once; each round begins with another one, so that none always has the broker at its coldest."""
        turn = (number - 1) % len(engines)
        runs = []
        for engine in engines[turn:] + engines[:turn]:
            loaded = self._feed(events, engine)
            # The slowest engines take a third of a millisecond for an event; a run that takes longer hangs.
            run = asyncio.run(run_engine(engine, loaded, self._kafka.pid, number, 120 + 0.001 * events))
            runs.append(run)
            told = run.failure or (
                f"{run.events_per_second:,} events/s, {run.engine_us} + {run.broker_us} µs/event, "
                f"{'not checked' if run.wrong is None else ', '.join(run.wrong) or 'equal'}, "
                f"others {run.others_share} cores"
            )
            _say(f"{events:,} events, round {number}: {engine.name}: {told}")
        return runs


def _say(text: str) -> None:
    print(f"bench: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def race(arguments: argparse.Namespace, command: list[str]) -> int:
    """Run the race; exit code 1 when an engine failed or was wrong."""
    engines = chosen(arguments.only, arguments.skip)
    events = arguments.events or (QUICK_EVENTS if arguments.quick else EVENTS)
    rounds = arguments.rounds or (1 if arguments.quick else ROUNDS)
    warm_events = arguments.warm_events
    if warm_events is None:
        warm_events = 0 if arguments.quick or arguments.events else WARM_EVENTS
    for engine in engines:
        engine.prepare()
    shutil.rmtree(CACHE_DIR / "kafka", ignore_errors=True)
    shutil.rmtree(CACHE_DIR / "runs", ignore_errors=True)
    about: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": shlex.join(["scripts/bench", *command]),
        "servers": arguments.servers,
        "machine": machine(),
    }
    found: dict[int, list[Figures]] = {events: []}
    with RaceKafka(CACHE_DIR / "kafka", jars_dir=ensure_jars()) as kafka:
        races = Races(kafka, arguments.servers, any(engine.is_product for engine in engines))
        for number in range(1, rounds + 1):
            found[events] += races.round(engines, events, number)
        warm = [engine for engine in engines if engine.is_warm]
        if warm_events and warm:
            found[warm_events] = found.get(warm_events, []) + races.round(warm, warm_events, 1)
    shutil.rmtree(CACHE_DIR / "kafka", ignore_errors=True)
    order = [engine.name for engine in engines]
    for runs in found.values():
        runs.sort(key=lambda run: (order.index(run.engine), run.round))
    is_whole = not command
    out = arguments.out or (COMMITTED_DIR if is_whole else SCRATCH_DIR)
    write(out, about, found)
    return 1 if any(run.failure or run.wrong for runs in found.values() for run in runs) else 0


def write(out: Path, about: dict[str, Any], found: dict[int, list[Figures]]) -> None:
    """Write the report and its figures, and print the report."""
    out.mkdir(parents=True, exist_ok=True)
    text = document(about, found)
    (out / f"results-{about['date']}.md").write_text(text, encoding="utf-8")
    rows = {str(events): [asdict(run) for run in runs] for events, runs in found.items()}
    (out / f"results-{about['date']}.json").write_text(json.dumps(about | {"runs": rows}, indent=1) + "\n")
    print(text)
    _say(f"the report is in {out}/results-{about['date']}.md, the logs of the runs in {CACHE_DIR / 'runs'}")


def main(argv: list[str]) -> int:
    """Run one command; exit code 2 for wrong usage or something missing."""
    try:
        if argv[:1] == ["guard"]:
            return guard.main(argv[1:])
        if argv[:1] == ["profile"]:
            return profiling.main(argv[1:])
        if argv[:1] == ["edge"]:
            return edge.main(argv[1:])
        if argv[:1] == ["report"]:
            return report_run.main(argv[1:])
        if argv[:1] == ["notify"]:
            return notify.main(argv[1:])
        if argv[:1] == ["waits"]:
            return waits.main(argv[1:])
        if argv[:1] == ["servers"]:
            return servers.main(argv[1:])
        return race(build_parser().parse_args(argv), argv)
    except (MissingToolError, EmbeddedKafkaError, CalledProcessError, RuntimeError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
