"""Runs one target under libFuzzer (atheris); what it finds goes to `.cache/fuzz`, with `--keep` into the corpus."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import atheris

REPOSITORY = Path(__file__).parents[2]
FOUND_DIR = REPOSITORY / ".cache" / "fuzz"
MAX_INPUT_BYTES = 4096
SLOW_SECONDS = 10
"""One input that takes so long is reported like a crash."""
MAX_MEMORY_MB = 2048
AGAIN = "TES_FUZZ_TARGET"
"""Set in the processes that libFuzzer starts for a merge: its own arguments do not say which target it is."""

with atheris.instrument_imports(include=["streams", "yaml"]):
    from tests.fuzz.seeds import CORPUS_DIR
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz, or take over what widens the coverage; the exit code is libFuzzer's: 0 unless a promise broke."""
    logging.disable(logging.CRITICAL)
    if AGAIN in os.environ:
        atheris.Setup(sys.argv, TARGETS[os.environ[AGAIN]])
        atheris.Fuzz()
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=180, help="(%(default)s)")
    parser.add_argument("--keep", action="store_true", help="copy found inputs that reach new code into the corpus")
    given = parser.parse_args()
    committed, found = CORPUS_DIR / given.target, FOUND_DIR / "found" / given.target
    broken = FOUND_DIR / "broken"
    for folder in (found, broken):
        folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_len={MAX_INPUT_BYTES}", f"-timeout={SLOW_SECONDS}", f"-rss_limit_mb={MAX_MEMORY_MB}"]
    dictionary = Path(__file__).parent / "dictionaries" / f"{given.target}.txt"
    if dictionary.exists():
        limits.append(f"-dict={dictionary}")
    folders = [str(committed), str(found)] if given.keep else [str(found), str(committed)]
    run = ["-merge=1"] if given.keep else [f"-max_total_time={given.seconds}", f"-artifact_prefix={broken}{os.sep}"]
    os.environ[AGAIN] = given.target
    atheris.Setup([str(REPOSITORY / "scripts" / "fuzz"), *limits, *run, *folders], TARGETS[given.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
