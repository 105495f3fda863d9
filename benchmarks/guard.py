"""Keeps the worker from slowing down: its CPU per event against the pure-Python floor's, both measured in one run.

The floor consumes, decodes, matches and counts, so a faster or slower machine moves both. The ratio is compared with
the committed one; absolute times are compared with nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from statistics import median

from benchmarks.broker import RaceKafka
from benchmarks.engines import FLOOR, WORKER
from benchmarks.environment import CACHE_DIR, machine
from benchmarks.load import load
from benchmarks.race import Figures, run_engine
from streams.dev.embedded_kafka import ensure_jars

COMMITTED = Path(__file__).with_name("guard.json")
ALLOWED_FACTOR = 1.3
EVENTS, SERVERS = 200_000, 2_000
"""A change of these moves the ratio: record it anew."""
ROUNDS, RECORDED_ROUNDS = 3, 6
RUN_SECONDS = 120.0


@dataclass(frozen=True)
class Outcome:
    """The ratio of each round, and what was wrong with a run."""

    ratios: tuple[float, ...]
    faults: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """The median, which one disturbed round does not move."""
        return median(self.ratios)


def outcome_of(pairs: Sequence[tuple[Figures, Figures]]) -> Outcome:
    """The outcome of rounds, each of a floor's and a worker's run."""
    faults = [
        f"{run.engine}: {run.failure or ', '.join(run.wrong or ())}"
        for pair in pairs
        for run in pair
        if run.failure or run.wrong
    ]
    ratios = [worker.engine_us / floor.engine_us for floor, worker in pairs if not (floor.failure or worker.failure)]
    return Outcome(tuple(ratios), tuple(faults))


def complaints(outcome: Outcome, committed: float, factor: float = ALLOWED_FACTOR) -> list[str]:
    """Why the guard fails; nothing when it holds."""
    found = list(outcome.faults)
    if not outcome.ratios:
        found.append("no round gave a ratio")
    elif outcome.ratio > committed * factor:
        found.append(
            f"ratio {outcome.ratio:.2f}: must be at most {committed * factor:.2f}, "
            f"{factor} times the committed {committed:.2f}"
        )
    return found


def told(number: int, floor: Figures, worker: Figures) -> str:
    """A round as a line."""
    if failed := [run for run in (floor, worker) if run.failure]:
        return f"round {number}: {failed[0].engine}: {failed[0].failure}"
    return (
        f"round {number}: floor {floor.engine_us:.2f} µs/event, worker {worker.engine_us:.2f} µs/event, "
        f"ratio {worker.engine_us / floor.engine_us:.2f}; others used {floor.others_share} and "
        f"{worker.others_share} cores"
    )


def rounds() -> Generator[tuple[Figures, Figures], None, None]:
    """Rounds without end, floor and worker in turn over one feed on a broker of their own."""
    folder = Path(tempfile.mkdtemp(prefix="tes-guard-"))
    shutil.rmtree(CACHE_DIR / "runs", ignore_errors=True)
    try:
        WORKER.prepare()
        with RaceKafka(folder / "kafka", jars_dir=ensure_jars()) as kafka:
            _say(f"loading {EVENTS:,} connections and folding them")
            loaded = load(kafka.bootstrap, "guard", EVENTS, SERVERS, folder / "state")
            for number in count(1):
                floor, worker = (
                    asyncio.run(run_engine(engine, loaded, kafka.pid, number, RUN_SECONDS))
                    for engine in (FLOOR, WORKER)
                )
                _say(told(number, floor, worker))
                yield floor, worker
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say(text: str) -> None:
    print(f"guard: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def judge(pairs: Iterator[tuple[Figures, Figures]], committed: float) -> tuple[Outcome, list[str]]:
    """The outcome of as many rounds as it takes, and why the guard fails."""
    measured = list(islice(pairs, ROUNDS))
    outcome = outcome_of(measured)
    if not outcome.faults and complaints(outcome, committed):
        # A slower worker is slower twice; a machine that is disturbed is so for a while.
        outcome = outcome_of([*measured, *islice(pairs, ROUNDS)])
    return outcome, complaints(outcome, committed)


def main(argv: list[str]) -> int:
    """Measure and compare, or record; exit code 1 when the ratio is too high or a run was wrong."""
    parser = argparse.ArgumentParser(prog="scripts/bench guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write the ratio to {COMMITTED.name}, compare nothing")
    arguments = parser.parse_args(argv)
    with closing(rounds()) as pairs:
        if arguments.record:
            return record(outcome_of(list(islice(pairs, RECORDED_ROUNDS))))
        committed = float(json.loads(COMMITTED.read_text(encoding="utf-8"))["ratio"])
        outcome, found = judge(pairs, committed)
    for complaint in found:
        print(f"guard: {complaint}", file=sys.stderr)
    if not found:
        print(f"guard: ratio {outcome.ratio:.2f}, committed {committed:.2f}, at most {committed * ALLOWED_FACTOR:.2f}")
    return 1 if found else 0


def record(outcome: Outcome) -> int:
    """Make the outcome the committed one; exit code 1 for one with a fault."""
    if outcome.faults or not outcome.ratios:
        print("\n".join(("guard: nothing was recorded", *outcome.faults)), file=sys.stderr)
        return 1
    recorded = {
        "ratio": round(outcome.ratio, 2),
        "rounds": [round(ratio, 2) for ratio in outcome.ratios],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
    }
    COMMITTED.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    print(f"guard: recorded {outcome.ratio:.2f}")
    return 0
