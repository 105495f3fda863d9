"""The guard fails for a worker that got slower or wrong, and the profile counts rightly."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from statistics import median
from typing import Any

import pytest

from benchmarks import guard
from benchmarks.measure import Mark, Sample
from benchmarks.profiling import read_stacks, report
from benchmarks.race import Figures, worker_marks


def pairs(ratios: Iterable[float], **worker: Any) -> list[tuple[Figures, Figures]]:
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


def test_the_guard_fails_for_a_worker_1_31_times_as_dear_as_the_committed_one() -> None:
    committed = json.loads(guard.COMMITTED.read_text(encoding="utf-8"))["ratio"]
    outcome, found = guard.judge(iter(pairs([committed * 1.31] * 2 * guard.ROUNDS)), committed)
    assert len(outcome.ratios) == 2 * guard.ROUNDS
    assert found
    assert guard.judge(iter(pairs([committed * 1.29] * guard.ROUNDS)), committed)[1] == []


def test_one_disturbed_round_does_not_fail_the_guard_nor_do_disturbed_first_ones() -> None:
    assert guard.judge(iter(pairs([2.0, 9.0, 2.0])), 2.0)[1] == []
    assert guard.judge(iter(pairs([9.0, 9.0, 2.0, 2.0, 2.0, 2.0])), 2.0)[1] == []


def test_a_result_that_is_wrong_gets_no_second_try() -> None:
    rounds = iter(pairs([2.0] * guard.ROUNDS, wrong=["2 dead letters"]))
    assert guard.judge(rounds, 2.0)[1] == ["worker: 2 dead letters"] * guard.ROUNDS


def test_a_round_is_told_with_both_figures_and_their_ratio() -> None:
    ((floor, worker),) = pairs([2.5])
    told = guard.told(4, floor, worker)
    assert told.startswith("round 4: floor 10.00 µs/event, worker 25.00 µs/event, ratio 2.50")
    assert guard.told(4, floor, replace(worker, failure="ended")) == "round 4: worker: ended"


def test_a_worker_is_measured_from_the_moment_when_its_last_partition_is_restored() -> None:
    samples = [
        Sample(at, events, cpu, 0, 0, 0) for at, events, cpu in ((9, 0, 1), (11, 0, 3), (12, 10, 5), (13, 20, 6))
    ]
    log = "".join(
        json.dumps({"ts": f"1970-01-01T00:00:{second}.000Z", "event": event}) + "\n"
        for second, event in (("08", "partition_fenced"), ("09", "partition_restored"), ("10", "partition_restored"))
    )
    assert worker_marks(log, samples) == [Mark(10, 0, 2), Mark(12, 10, 5), Mark(13, 20, 6)]
    assert worker_marks("no line of it\n", samples) == []


def test_the_guard_has_a_committed_ratio_of_the_same_race() -> None:
    committed = json.loads(guard.COMMITTED.read_text(encoding="utf-8"))
    assert committed["ratio"] == pytest.approx(median(committed["rounds"]), abs=0.02)
    assert len(committed["rounds"]) >= 2 * guard.ROUNDS


def test_a_profile_counts_a_recursive_function_once_a_sample() -> None:
    text = report(read_stacks("run (/x/site-packages/a/b.py:1);walk (c.py:2);walk (c.py:3) 3\nrun (c.py:9) 1\n"))
    assert "  75.0%  walk (c.py)" in text
    assert "75.0%  run (a/b.py)" in text
    assert text.startswith("4 samples")
