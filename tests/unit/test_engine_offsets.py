"""A log that no longer fits the state is told, and not skipped over."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from streams.engine.partition.offsets import GapError, check_gap

TP = TopicPartition("in", 2)


def test_reading_goes_on_where_the_state_ends() -> None:
    assert check_gap(TP, 5, 0, 9, accepts_gaps=False) == 5
    assert check_gap(TP, 9, 9, 9, accepts_gaps=False) == 9


@pytest.mark.parametrize(
    ("expected", "begin", "end", "told"),
    [
        (5, 8, 20, r"in-2: records 5\.\.7 were deleted"),
        (30, 0, 4, r"in-2: the topic ends at 4, but the state includes records up to 29"),
    ],
)
def test_records_that_are_gone_stop_the_worker_unless_the_operator_accepts(
    expected: int, begin: int, end: int, told: str
) -> None:
    with pytest.raises(GapError, match=told):
        check_gap(TP, expected, begin, end, accepts_gaps=False)
    assert check_gap(TP, expected, begin, end, accepts_gaps=True) == begin
