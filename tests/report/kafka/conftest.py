"""Topics with the output of real workers."""

from __future__ import annotations

import asyncio

import pytest

from streams.operations.feeds import replay
from streams.settings.worker import Settings
from tests.support.feeds import UNTIL, make_commands, make_feed


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """The cluster corner of a test whose topics a worker has filled."""
    asyncio.run(replay(settings, make_feed(1), UNTIL, 1, commands=make_commands(1)))
    return settings
