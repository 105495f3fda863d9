"""The short form of `scripts/chaos` under pytest: `pytest tests/chaos/short_form.py`, `-k` for some scenarios.

Not named `test_…`: it takes minutes, and only who asks for it gets it. All chosen scenarios are played together, as the
script does it; each test then looks at the result of its own.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.chaos.play import Result, play_all
from tests.chaos.scenario import SCENARIOS

SHORT_KILLS = 3
SEED = int(os.environ.get("CHAOS_SEED", "0")) or int.from_bytes(os.urandom(2))


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> dict[str, Result]:
    """The results of the scenarios that were chosen; the seed is printed."""
    chosen = [item.callspec.params["name"] for item in request.session.items if "results" in item.fixturenames]  # type: ignore[attr-defined]
    return asyncio.run(play_all(chosen, SEED, is_short=True, kills=SHORT_KILLS))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.in_short])
def test_it_stands(results: dict[str, Result], name: str) -> None:
    result = results[name]
    assert not result.error, f"seed {SEED}: {result.error}"
    if result.not_done:
        pytest.fail(f"could not be done: {result.not_done}")
