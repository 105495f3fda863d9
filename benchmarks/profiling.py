"""Where a worker's time goes: a sampling profiler looks at a shipped worker from outside while it reads the feed.

The worker runs as it ships; nothing in it is patched or slowed.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.broker import RaceKafka
from benchmarks.engines import WORKER
from benchmarks.environment import CACHE_DIR, COMMITTED_DIR, REPOSITORY, machine, peers_python
from benchmarks.load import load
from benchmarks.race import run_engine
from benchmarks.servers import BEHIND_MS, Plan, Service, Watch
from streams.dev.embedded_kafka import ensure_jars

RATE_HZ = 200
SHOWN = 60
_ROOT = re.compile(rf"^(?:.*/site-packages/|{re.escape(str(REPOSITORY))}/|.*/lib/python3\.\d+/)")


@contextmanager
def profiled(stacks: Path, has_native: bool, pid: int) -> Iterator[None]:
    """Write the stacks of a process to a file, a line each with its number of samples, while the block runs."""
    py_spy = str(peers_python().with_name("py-spy"))
    options = ["--rate", str(RATE_HZ), "--format", "raw", "--full-filenames", *(["--native"] if has_native else [])]
    command = [py_spy, "record", "--pid", str(pid), "--duration", "86400", *options, "--output", str(stacks)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        if not stacks.exists():
            raise RuntimeError(f"the profiler wrote nothing: {said.strip()[-300:]}")


def read_stacks(text: str) -> Counter[tuple[str, ...]]:
    """Samples by stack, outermost frame first."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        if frames:
            stacks[tuple(map(_short, frames.split(";")))] += int(count)
    return stacks


def _short(frame: str) -> str:
    """A frame with its path from the package on, or the end of it where it is of the system."""
    name, _, place = frame.partition(" (")
    place = _ROOT.sub("", place)
    if place.startswith("/"):
        place = "/".join(place.split("/")[-2:])
    return f"{name} ({place}" if place else name


def report(stacks: Counter[tuple[str, ...]]) -> str:
    """Shares of samples per function: alone, and with all that it calls; then the hottest lines."""
    total = sum(stacks.values()) or 1
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for stack, count in stacks.items():
        functions = [_function(frame) for frame in stack]
        alone[functions[-1]] += count
        lines[stack[-1]] += count
        for function in set(functions):
            within[function] += count
    text = f"{total} samples\n"
    for title, counts in (("alone", alone), ("with all that it calls", within), ("line", lines)):
        text += f"\n{'share':>7}  {title}\n"
        text += "".join(f"{count / total:7.1%}  {name}\n" for name, count in counts.most_common(SHOWN))
    return text


def _function(frame: str) -> str:
    name, separator, place = frame.partition(" (")
    return f"{name} ({place.rpartition(':')[0]})" if separator and ":" in place else frame


def _of_feed(kafka: RaceKafka, events: int, servers: int, watch: Watch) -> str:
    """Profile a worker over the race's feed; gives what it took.

    Raises:
        RuntimeError: the run failed or was wrong.
    """
    loaded = load(kafka.bootstrap, "profile", events, servers, CACHE_DIR / "runs")
    run = asyncio.run(run_engine(WORKER, loaded, kafka.pid, 1, 120 + 0.001 * events, watch))
    if run.failure or run.wrong:
        raise RuntimeError(run.failure or ", ".join(run.wrong or ()))
    return f"{events:,} connections of {servers:,} servers: {run.events_per_second:,} events/s, {run.engine_us}"


def _of_known(kafka: RaceKafka, events: int, servers: int, watch: Watch) -> str:
    """Profile a worker that has restored the servers, which then all connect equally often; gives what it took."""
    folder = CACHE_DIR / "servers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plan = Plan(servers, events, 1, ("uniform",), round(time.time() * 1000) - BEHIND_MS)
    service = Service(plan, kafka.bootstrap, kafka.pid, folder, watch)
    asyncio.run(service.prepare())
    (feed,) = plan.parts()
    part = asyncio.run(service.part(1, feed, "uniform"))
    shutil.rmtree(folder, ignore_errors=True)
    return f"{events:,} connections of {servers:,} servers known before: {part.engine_us}"


def main(argv: list[str]) -> int:
    """Profile a worker and write the report; exit code 1 when the run failed or was wrong."""
    parser = argparse.ArgumentParser(prog="scripts/bench profile", description=__doc__)
    parser.add_argument("--events", type=int, default=400_000, help="connections (%(default)s)")
    parser.add_argument("--servers", type=int, default=10_000, help="servers (%(default)s)")
    parser.add_argument("--known", action="store_true", help="the servers are known before; profile-known.txt")
    parser.add_argument("--native", action="store_true", help="show the frames of compiled extensions too")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the report goes")
    arguments = parser.parse_args(argv)
    peers_python()
    WORKER.prepare()
    stacks = CACHE_DIR / "worker.stacks"
    stacks.unlink(missing_ok=True)
    watch = partial(profiled, stacks, arguments.native)
    of, name = (_of_known, "profile-known.txt") if arguments.known else (_of_feed, "profile-worker.txt")
    shutil.rmtree(CACHE_DIR / "kafka", ignore_errors=True)
    try:
        with RaceKafka(CACHE_DIR / "kafka", jars_dir=ensure_jars()) as kafka:
            what = of(kafka, arguments.events, arguments.servers, watch)
    except RuntimeError as error:
        print(f"bench profile: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(CACHE_DIR / "kafka", ignore_errors=True)
    about, date, out = machine(), time.strftime("%Y-%m-%d", time.gmtime()), arguments.out or COMMITTED_DIR / name
    out.write_text(
        f"Shipped worker, 1 process, at {about['commit']}, {date}, {about['cores']} cores of {about['cpu']}.\n"
        f"{what} µs of CPU a connection, watched at {RATE_HZ} Hz.\n"
        + report(read_stacks(stacks.read_text(encoding="utf-8"))),
        encoding="utf-8",
    )
    print(f"bench profile: {out}, stacks in {stacks}", file=sys.stderr)
    return 0
