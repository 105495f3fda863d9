"""The stages of a run: none fails unnoticed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

STAGES = Path(__file__).parents[2] / "scripts" / "stages"
HEAD = f"""
set -euo pipefail
. {STAGES}
good() {{ echo good; }}
bad() {{ false; echo went on; }}
pipe() {{ false | cat; echo went on; }}
hang() {{ sleep 600 & wait; }}
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", HEAD + script], capture_output=True, text=True, timeout=60, check=False)


def test_stages_that_all_work_work() -> None:
    done = run("beside one good; stage two good; joined one; stage three good")
    assert (done.returncode, done.stderr) == (0, "")
    assert "one" in done.stdout.splitlines()[-2]


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("stage one good; stage two bad; stage three good", "two"),
        ("stage two pipe; stage three good", "two"),
        ("beside two bad; stage one good; joined two; stage three good", "two"),
        ("beside two exit 7; joined two", "two"),
        ("beside one hang; stage two bad", "two"),
        ("beside two bad; stage one good", "two, which nobody joined"),
        ("beside two hang; stage one good", "two, which nobody joined"),
    ],
)
def test_a_stage_that_fails_or_that_nobody_waits_for_fails_the_run_and_is_named(script: str, name: str) -> None:
    done = run(script)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith(f"FAILED: {name}")
    assert "went on" not in done.stdout
    assert "three" not in done.stdout
