"""The guard fails for a worker that got slower or wrong, and the profile counts rightly."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from benchmarks import guard
from benchmarks.profiling import read_stacks, report
from benchmarks.race import Figures


def pairs(ratios: Iterable[float], **worker: object) -> list[tuple[Figures, Figures]]:
    floor = Figures("floor", 1, 10, wrong=[], engine_us=10.0)
    return [(floor, replace(Figures("worker", 1, 10, wrong=[], engine_us=10.0 * ratio), **worker)) for ratio in ratios]


def test_the_guard_holds_up_to_its_factor_and_fails_above() -> None:
    assert guard.complaints(guard.outcome_of(pairs([2.0, 2.6, 9.0])), 2.0) == []
    (complaint,) = guard.complaints(guard.outcome_of(pairs([2.0, 2.7, 9.0])), 2.0)
    assert complaint == "ratio 2.70: must be at most 2.60, 1.3 times the committed 2.00"


def test_the_guard_fails_for_a_wrong_worker_however_fast() -> None:
    assert guard.complaints(guard.outcome_of(pairs([0.1], wrong=["2 dead letters"])), 2.0) == ["worker: 2 dead letters"]
    assert guard.complaints(guard.outcome_of(pairs([1.0], failure="ended")), 2.0) == [
        "worker: ended",
        "no round gave a ratio",
    ]


def test_the_guard_has_a_committed_ratio_of_the_same_race() -> None:
    committed = json.loads(guard.COMMITTED.read_text(encoding="utf-8"))
    assert committed["ratio"] > 0
    assert len(committed["rounds"]) == guard.ROUNDS


def test_a_profile_counts_a_recursive_function_once_a_sample() -> None:
    text = report(read_stacks("run (/x/site-packages/a/b.py:1);walk (c.py:2);walk (c.py:3) 3\nrun (c.py:9) 1\n"))
    assert "  75.0%  walk (c.py)" in text
    assert "75.0%  run (a/b.py)" in text
    assert text.startswith("4 samples")
