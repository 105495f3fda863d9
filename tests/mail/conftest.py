"""A Postfix for the session, and milters behind ports of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.support.milter_service import Fronts
from tests.support.postfix import Postfix, running_postfix


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let other users enter what a mail server is given: a test of a store may have run in this process before.

    A store makes its process's files private, for good.
    """
    os.umask(0o022)


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    """A Postfix of this session's own."""
    with running_postfix() as running:
        yield running


@pytest.fixture
def fronts(postfix: Postfix) -> Iterator[Fronts]:
    """Ports with milters, served until the test ends."""
    with contextlib.ExitStack() as stack:
        yield Fronts(postfix, stack)
