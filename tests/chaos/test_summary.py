"""The end of a run says what failed, and why, in few lines."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.play import REASON_LINES, Result, summary

ENDS = "".join(f"\n  /tmp/worker-{number}.log ends with\n    one line\n    another line" for number in range(3))


def ends_of(*errors: str) -> list[str]:
    results = {f"fault-{number}": Result(1.0, error) for number, error in enumerate(errors)}
    return summary(results | {"sound": Result(1.0)}, 7, is_short=True, folder=Path("/tmp/run"))


def test_the_reasons_of_failures_are_the_last_lines_without_the_ends_of_logs() -> None:
    count, *failures = ends_of(f"a held request did not happen within 120 s: {ENDS}", "2 findings\n  one\n  two")
    assert count == "seed 7: 1 stood it, 2 failed, 0 could not be done"
    assert failures == [
        "FAILED: fault-0: scripts/chaos --short --only fault-0 --seed 7; its files are in /tmp/run/fault-0\n"
        "  a held request did not happen within 120 s: ",
        "FAILED: fault-1: scripts/chaos --short --only fault-1 --seed 7; its files are in /tmp/run/fault-1\n"
        "  2 findings\n    one\n    two",
    ]


def test_only_the_first_findings_of_a_failure_are_among_the_last_lines() -> None:
    _, failure = ends_of("100 findings" + "".join(f"\n  finding {number}" for number in range(100)))
    assert f"finding {REASON_LINES - 2}\n" in failure
    assert f"finding {REASON_LINES - 1}" not in failure
    assert failure.endswith("and 81 more lines")


def test_what_could_not_be_done_is_told_before_the_count() -> None:
    results = {"away": Result(1.0, not_done="no library"), "sound": Result(1.0)}
    assert summary(results, 7, is_short=False, folder=Path("/tmp/run")) == [
        "NOT DONE: away: no library",
        "seed 7: 1 stood it, 0 failed, 1 could not be done",
    ]
