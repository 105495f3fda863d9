"""`scripts/chaos`: plays the scenarios, and says what was seen."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from collections.abc import Sequence

from tests.chaos.play import JOBS, play_all
from tests.chaos.scenario import SCENARIOS

LONG_KILLS, SHORT_KILLS = 100, 3


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Breaks real workers and a real Kafka in every way that is promised to cost nothing.",
        epilog="examples: scripts/chaos --list; scripts/chaos --short; scripts/chaos --only slow-broker --seed 7. "
        "Exit codes: 0 all stood, 1 one did not, 2 bad usage.",
    )
    parser.add_argument("--seed", type=int, help="repeat a run (a new one each time; every run prints its own)")
    parser.add_argument("--only", action="append", metavar="SCENARIO", help="repeatable")
    parser.add_argument("--kills", type=int, metavar="N", help=f"random kills ({LONG_KILLS}; short {SHORT_KILLS})")
    parser.add_argument("--short", action="store_true", help="small feeds, and few scenarios, as CI plays them")
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help="scenarios at once (%(default)s)")
    parser.add_argument("--list", action="store_true", help="print the scenarios and end")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Play what the arguments ask for; the exit code is 1 when a scenario fails."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.list:
        for name, scenario in SCENARIOS.items():
            print(f"{name:42} {' '.join(scenario.about.split())}")
        return 0
    names = options.only or [name for name, of in SCENARIOS.items() if of.in_short or not options.short]
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        parser.error(f"--only: {unknown[0]!r}: must be one of {', '.join(SCENARIOS)}")
    for option in ("kills", "jobs"):
        if getattr(options, option) is not None and getattr(options, option) < 1:
            parser.error(f"--{option}: {getattr(options, option)}: must be at least 1")
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    if options.short and not options.only:
        print(f"chaos: left to the long form: {', '.join(name for name in SCENARIOS if name not in names)}", flush=True)
    kills = options.kills or (SHORT_KILLS if options.short else LONG_KILLS)
    results = asyncio.run(play_all(names, seed, options.short, kills, options.jobs))
    return 1 if any(result.error for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
