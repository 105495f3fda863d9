"""Everything a decision reads besides state and event: the policies in their order, the catalogue, the service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

from streams.domain.build import Build
from streams.domain.catalogue import Catalogue
from streams.domain.connection import DAY_MS, LATEST_MS
from streams.domain.judgement import Judgement, judge
from streams.domain.ladder import Standstill
from streams.domain.policy import ConnectorType, Mode, Policy

MAX_JUDGEMENTS = 5_000
"""Kept at most: 2.5 KB each. Senders may claim any build, and then each is another one."""


@dataclass(frozen=True, slots=True)
class Service:
    """The receiving service as it presents itself in replies and notifications."""

    name: str = "Exchange Online"
    link: str = "https://aka.ms/BlockUnsafeExchange"


def _moment_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def in_force(configured: Sequence[Policy], published: Sequence[Policy]) -> tuple[Policy, ...]:
    """The policies of a service: those it is configured with, and those published since.

    A single configured one governs from the first event on, whatever moment it bears.
    """
    if len(configured) == 1 and published:
        earliest = min(policy.effective_at for policy in (*configured, *published))
        configured = [replace(configured[0], effective_at=earliest - timedelta(milliseconds=1))]
    return (*configured, *published)


@dataclass(slots=True)
class Rulebook:
    """The policies, each in force from its `effective_at` on, the earliest also before that.

    Judgements repeat for a build and a day, so they are kept; the cache changes no result. `fingerprint` tells apart
    sets of policies: two with the same versions at the same moments are the same.

    Raises:
        ValueError: no policy is given, or two begin at the same moment.
    """

    policies: tuple[Policy, ...]
    catalogue: Catalogue
    service: Service = field(default_factory=Service)
    _starts: tuple[int, ...] = ()
    _announced: tuple[int, ...] = ()
    fingerprint: str = ""
    _judged: dict[tuple[Build, int, int, ConnectorType, bool], Judgement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.policies:
            raise ValueError("policies: none given: at least one is needed")
        self.policies = tuple(sorted(self.policies, key=lambda policy: policy.effective_at))
        self._starts = tuple(_moment_ms(policy.effective_at) for policy in self.policies)
        self._announced = tuple(_moment_ms(policy.announced_at) for policy in self.policies)
        self.fingerprint = ",".join(
            f"{policy.policy_id}/{policy.version}@{start}"
            for policy, start in zip(self.policies, self._starts, strict=True)
        )
        for one, other in combinations(self.policies, 2):
            names = [f"{policy.policy_id} version {policy.version}" for policy in (one, other)]
            if one.effective_at == other.effective_at:
                at = one.effective_at.isoformat()
                raise ValueError(f"effective_at: {at}: {names[0]} and {names[1]} both begin at this moment")
            if names[0] == names[1]:
                raise ValueError(f"version: {one.version}: two policies are {names[0]}: give one another version")

    def _index_at(self, moment: int) -> int:
        index = len(self._starts) - 1
        while index > 0 and self._starts[index] > moment:
            index -= 1
        return index

    def policy_at(self, moment: int) -> Policy:
        """The policy in force at `moment` (UTC milliseconds)."""
        return self.policies[self._index_at(moment)]

    def next_switch_after(self, moment: int) -> int | None:
        """When the next policy begins after `moment`, None when the last one is in force."""
        index = self._index_at(moment) + 1
        return self._starts[index] if index < len(self._starts) else None

    def switches_after(self, moment: int) -> Iterable[tuple[int, int]]:
        """The policies that begin after `moment`, each as (when it is announced, when it begins)."""
        for index in range(self._index_at(moment) + 1, len(self._starts)):
            yield self._announced[index], self._starts[index]

    def standstills(self) -> Iterable[Standstill]:
        """The spans without enforcement: a policy that only reports or observes stops every server's clock."""
        for index, policy in enumerate(self.policies):
            if policy.mode is not Mode.ENFORCE:
                starts_at = self._starts[index] if index else 0
                ends_at = self._starts[index + 1] if index + 1 < len(self._starts) else 2 * LATEST_MS
                yield Standstill(starts_at, ends_at)

    def judge(self, build: Build, moment: int, connector_type: ConnectorType, tenant_id: str) -> Judgement:
        """Judge a build under the policy in force at `moment`."""
        index = self._index_at(moment)
        policy = self.policies[index]
        is_covered = policy.cohort_percent >= 100 or policy.enforces_tenant(tenant_id)
        key = (build, index, moment // DAY_MS, connector_type, is_covered)
        found = self._judged.get(key)
        if found is None:
            at = datetime.fromtimestamp(moment / 1000, UTC)
            found = judge(build, policy, self.catalogue, at, connector_type, None if is_covered else tenant_id)
            if len(self._judged) >= MAX_JUDGEMENTS:
                self._judged.clear()
            self._judged[key] = found
        return found
