"""What a scenario is, and which there are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.trial import Trial

Play = Callable[["Trial"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to break the service; `play` raises where it did not stand it."""

    name: str
    about: str
    play: Play
    owns_broker: bool
    in_short: bool
    takes_long: bool


SCENARIOS: dict[str, Scenario] = {}


def scenario(*, owns_broker: bool = False, in_short: bool = True, takes_long: bool = False) -> Callable[[Play], Play]:
    """Register a function; its name is the scenario's, its docstring says what is done and what must come of it.

    `in_short` is False where another scenario, or a test, stands for it in the form for CI; what
    `takes_long` begins first.
    """

    def register(play: Play) -> Play:
        name = play.__name__.replace("_", "-")
        about = (play.__doc__ or "").strip()
        SCENARIOS[name] = Scenario(name, about, play, owns_broker, in_short, takes_long)
        return play

    return register
