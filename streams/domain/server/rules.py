"""What governs one server: the policies of the service and the waivers of its tenant."""

from __future__ import annotations

from typing import Final

from streams.domain.policy.ladder import ClockStop
from streams.domain.policy.policy import Mode, Policy
from streams.domain.policy.rulebook import Rulebook
from streams.domain.tenant.waivers import NO_WAIVERS, Waivers


class ServerRules:
    """The policies and catalogues, and the pauses and exceptions of one server."""

    __slots__ = ("rulebook", "waivers")

    def __init__(self, rulebook: Rulebook, waivers: Waivers = NO_WAIVERS) -> None:
        self.rulebook: Final = rulebook
        self.waivers: Final = waivers

    def policy_at(self, at: int) -> Policy:
        """The policy in force at `at`, UTC milliseconds."""
        return self.rulebook.policy_at(at)

    def allows_episodes(self, at: int) -> bool:
        """Whether an episode can begin at `at`, UTC milliseconds: under a policy that only observes none does."""
        return self.rulebook.policy_at(at).mode is not Mode.OBSERVE

    def clock_stops(self) -> tuple[ClockStop, ...]:
        """Every span in which the enforcement clock is stopped: policies that do not enforce, pauses, exceptions."""
        return (*self.rulebook.clock_stops(), *self.waivers.clock_stops())
