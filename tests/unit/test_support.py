"""Helpers of tests that check something say what differed."""

from __future__ import annotations

import pytest

from streams.operations.feeds import Collected
from tests.support.feeds import make_feed
from tests.support.worker_results import check


def test_a_check_that_several_tests_share_says_what_differed() -> None:
    with pytest.raises(AssertionError, match="more items"):
        check(Collected(), make_feed(1, 50), [])
