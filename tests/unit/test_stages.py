"""What CI runs stage by stage, some beside others: whatever fails ends the run and is named."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

STAGES = Path(__file__).parents[2] / "scripts" / "stages"


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A script that has the stages."""
    text = f"set -euo pipefail\n. {STAGES}\n{script}"
    return subprocess.run(
        ["bash", "-c", text],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_stages_run_in_turn_and_say_how_long_they_took(tmp_path: Path) -> None:
    done = run("stage one echo first\nstage two echo second", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:4] == ["== one", "first", "== two", "second"]
    assert [line.split()[0] for line in done.stdout.splitlines()[5:]] == ["one", "two"]


def test_what_runs_beside_a_stage_is_shown_in_one_piece_when_it_is_waited_for(tmp_path: Path) -> None:
    # Each waits for the other: they do run at the same time.
    script = """
mkfifo there back
slow() { echo begins; echo x >there; cat back; echo ends; }
fast() { cat there; echo between; echo x >back; }
beside slow slow
stage fast fast
joined slow
"""
    done = run(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.partition("== How long it took\n")
    beside = ["== slow, which ran beside others", "begins", "x", "ends"]
    assert shown[0].splitlines() == ["== fast", "x", "between", *beside]
    assert "slow" in shown[2]


def test_a_stage_that_fails_ends_the_run_at_its_first_failure_and_is_named(tmp_path: Path) -> None:
    done = run("bad() { (exit 3); echo never; }\nstage good true\nstage bad bad\nstage later echo never", tmp_path)
    assert done.returncode == 3
    assert "never" not in done.stdout
    assert done.stderr.splitlines()[-1] == "FAILED: bad (exit code 3)"


def test_what_fails_beside_a_stage_fails_the_run_and_is_named_behind_what_it_printed(tmp_path: Path) -> None:
    script = """
bad() { echo why; (exit 4); echo never; }
beside bad bad
stage good echo good
joined bad
stage later echo never
"""
    done = run(script, tmp_path)
    assert done.returncode == 4
    assert "never" not in done.stdout
    assert "good" in done.stdout
    assert "why" in done.stdout
    assert done.stderr.splitlines()[-1] == "FAILED: bad (exit code 4)"


def test_a_failure_ends_all_that_runs_beside_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "begun")
    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    script = """
forever() { sh -c 'sleep 1000 & echo x >begun; wait' >held; }
bad() { cat begun; (exit 5); }
beside forever forever
stage bad bad
"""
    done = run(script, tmp_path)
    assert done.returncode == 5
    os.set_blocking(held, True)
    assert os.read(held, 1) == b"", "the end comes when no process holds the other side any more"
    os.close(held)
    assert list(tmp_path.glob("tmp.*")) == []
