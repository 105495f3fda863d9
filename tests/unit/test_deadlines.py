"""What ends a worker's work takes no longer than what waits for it."""

from __future__ import annotations

import faust

from streams.engine.deadlines import RELEASE_SECONDS, drain_seconds
from streams.kafka.shutdown import CANCEL_SECONDS, CLOSE_SECONDS
from streams.settings.worker import Settings

CLOSES = 3
"""The merged input's client closes, the open transaction is aborted, the producer closes."""


def stop_seconds(session_timeout_seconds: float) -> float:
    """The longest that a partition takes to stop."""
    return drain_seconds(session_timeout_seconds) + CANCEL_SECONDS + CLOSES * CLOSE_SECONDS


def test_a_partition_stops_before_its_release_gives_up_and_that_before_the_rebalance_does() -> None:
    assert stop_seconds(Settings().session_timeout_seconds) < RELEASE_SECONDS
    assert stop_seconds(40) < RELEASE_SECONDS < faust.App("any").conf.broker_rebalance_timeout


def test_a_drain_leaves_time_to_be_heard_of_before_the_session_ends() -> None:
    assert drain_seconds(10) == 5
