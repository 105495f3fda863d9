"""Everything a decision reads besides state and event: policies and catalogues in their order, and the service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Final

from streams.domain.exchange.build import Build
from streams.domain.exchange.catalogue import Catalogue
from streams.domain.policy.judgement import Judgement, judge
from streams.domain.policy.ladder import ClockStop
from streams.domain.policy.policy import ANNOUNCE_DAYS, ConnectorType, Mode, Policy
from streams.domain.time import DAY_MS, LATEST_MS, moment_ms

MAX_JUDGEMENTS = 5_000
"""Kept at most: 2.5 KB each. Senders may claim any build, and then each is another one."""


@dataclass(frozen=True, slots=True)
class Service:
    """The receiving service as it presents itself in replies and notifications."""

    name: str = "Exchange Online"
    link: str = "https://aka.ms/BlockUnsafeExchange"


def effective_policies(configured: Sequence[Policy], published: Sequence[Policy]) -> tuple[Policy, ...]:
    """The policies of a service: those it is configured with, and those published since.

    A single configured one governs from the first event on, whatever moment it bears.
    """
    if len(configured) == 1 and published:
        earliest = min(policy.effective_at for policy in (*configured, *published))
        configured = [replace(configured[0], effective_at=earliest - timedelta(milliseconds=1))]
    return (*configured, *published)


@dataclass(frozen=True, slots=True)
class PublishedCatalogue:
    """One version of the build catalogue; judges events and clock ticks from `effective_at` (UTC) on."""

    version: int
    effective_at: datetime
    catalogue: Catalogue
    published_at: datetime | None = None

    @property
    def announced_at(self) -> datetime:
        """From when on its effects are announced: its publication, or a month ahead if that is not known."""
        return self.published_at or self.effective_at - timedelta(days=ANNOUNCE_DAYS)


class RuleSpan:
    """A span without a switch, from the last one on (UTC milliseconds, 0 for none); how long a stamp holds in it."""

    __slots__ = ("ends_at", "stamp_holds_ms", "starts_at")

    def __init__(self, starts_at: int, ends_at: int, stamp_holds_ms: int) -> None:
        self.starts_at, self.ends_at, self.stamp_holds_ms = starts_at, ends_at, stamp_holds_ms


NO_SPAN: Final = RuleSpan(0, 0, 0)
"""No moment lies in it."""


@dataclass(slots=True)
class Rulebook:
    """The policies and catalogues, each in force from its `effective_at` on.

    The earliest policy governs also before that, and `catalogue`, the built-in one, until the first published one
    begins. A moment at which another policy or catalogue begins is a switch. Judgements repeat for a build and a day,
    so they are kept; the cache changes no result. `fingerprint` tells apart sets of policies and catalogues: two with
    the same versions at the same moments are the same.

    Raises:
        ValueError: no policy is given, or two policies or two catalogues begin at the same moment.
    """

    policies: tuple[Policy, ...]
    catalogue: Catalogue
    service: Service = field(default_factory=Service)
    catalogues: tuple[PublishedCatalogue, ...] = ()
    fingerprint: str = ""
    _policy_starts: tuple[int, ...] = ()
    _policies_announced: tuple[int, ...] = ()
    _catalogue_starts: tuple[int, ...] = ()
    _catalogues_announced: tuple[int, ...] = ()
    _switches: tuple[tuple[int, int], ...] = ()
    _judged: dict[tuple[Build, int, int, int, ConnectorType, bool], Judgement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.policies:
            raise ValueError("policies: none given: at least one is required")
        self.policies = tuple(sorted(self.policies, key=lambda policy: policy.effective_at))
        self.catalogues = tuple(sorted(self.catalogues, key=lambda item: item.effective_at))
        self._policy_starts = tuple(moment_ms(policy.effective_at) for policy in self.policies)
        self._policies_announced = tuple(moment_ms(policy.announced_at) for policy in self.policies)
        self._catalogue_starts = tuple(moment_ms(item.effective_at) for item in self.catalogues)
        self._catalogues_announced = tuple(moment_ms(item.announced_at) for item in self.catalogues)
        self._refuse_conflicts()
        announced: dict[int, int] = {}
        for starts, announcements in (
            (self._policy_starts[1:], self._policies_announced[1:]),
            (self._catalogue_starts, self._catalogues_announced),
        ):
            for start, at in zip(starts, announcements, strict=True):
                announced[start] = min(at, announced.get(start, at))
        self._switches = tuple(sorted(announced.items()))
        named = [f"{policy.policy_id}/{policy.version}" for policy in self.policies]
        named += [f"catalogue {item.version}" for item in self.catalogues]
        moments = (*self._policy_starts, *self._catalogue_starts)
        self.fingerprint = ",".join(f"{name}@{start}" for name, start in zip(named, moments, strict=True))

    def _refuse_conflicts(self) -> None:
        for one, other in combinations(self.policies, 2):
            names = [f"{policy.policy_id} version {policy.version}" for policy in (one, other)]
            if one.effective_at == other.effective_at:
                at = one.effective_at.isoformat()
                raise ValueError(f"effective_at: {at}: {names[0]} and {names[1]} both take effect at this time")
            if names[0] == names[1]:
                raise ValueError(f"version: {one.version}: two policies are {names[0]}: change the version of one")
        for first, second in combinations(self.catalogues, 2):
            if first.effective_at == second.effective_at:
                at = first.effective_at.isoformat()
                said = f"catalogues {first.version} and {second.version} both take effect at this time"
                raise ValueError(f"effective_at: {at}: {said}")
            if first.version == second.version:
                raise ValueError(f"version: {first.version}: two catalogues have this version")

    def _policy_index(self, moment: int, known_at: int | None = None) -> int:
        starts, announced = self._policy_starts, self._policies_announced
        index = len(starts) - 1
        while index > 0 and not _applies(starts[index], announced[index], moment, known_at):
            index -= 1
        return index

    def _catalogue_index(self, moment: int, known_at: int | None = None) -> int:
        """Among the published ones; -1 for the built-in one."""
        starts, announced = self._catalogue_starts, self._catalogues_announced
        index = len(starts) - 1
        while index >= 0 and not _applies(starts[index], announced[index], moment, known_at):
            index -= 1
        return index

    def _catalogue(self, index: int) -> Catalogue:
        return self.catalogue if index < 0 else self.catalogues[index].catalogue

    def policy_at(self, moment: int, known_at: int | None = None) -> Policy:
        """The policy in force at `moment` (UTC milliseconds), as far as it was announced at `known_at`."""
        return self.policies[self._policy_index(moment, known_at)]

    def catalogue_at(self, moment: int, known_at: int | None = None) -> Catalogue:
        """The catalogue in force at `moment` (UTC milliseconds), as far as it was announced at `known_at`."""
        return self._catalogue(self._catalogue_index(moment, known_at))

    def catalogue_version_at(self, moment: int) -> int:
        """The version of the catalogue in force at `moment` (UTC milliseconds), 0 for the built-in one."""
        index = self._catalogue_index(moment)
        return 0 if index < 0 else self.catalogues[index].version

    def next_switch_after(self, moment: int) -> int | None:
        """When the next policy or catalogue begins after `moment`, None when the last ones are in force."""
        for start, _ in self._switches:
            if start > moment:
                return start
        return None

    def last_switch_at(self, moment: int) -> int:
        """When the last policy or catalogue began at or before `moment`; 0 where none has."""
        last = 0
        for start, _ in self._switches:
            if start <= moment:
                last = start
        return last

    def span_at(self, moment: int) -> RuleSpan:
        """The span between two switches in which `moment` (UTC milliseconds) lies, and what counting asks of it."""
        last, following = self.last_switch_at(moment), self.next_switch_after(moment)
        # Before the first switch a span has no beginning, behind the last one no end.
        ends_at = 2 * LATEST_MS if following is None else following
        return RuleSpan(last, ends_at, self.policy_at(moment).stamp_holds_days * DAY_MS)

    def switches_after(self, moment: int) -> Iterable[tuple[int, int]]:
        """The switches after `moment`, each as (when it is announced, when it comes)."""
        for start, announced_at in self._switches:
            if start > moment:
                yield announced_at, start

    def clock_stops(self) -> Iterable[ClockStop]:
        """The spans without enforcement: a policy that only reports or observes stops every server's clock."""
        starts = self._policy_starts
        for index, policy in enumerate(self.policies):
            if policy.mode is not Mode.ENFORCE:
                starts_at = starts[index] if index else 0
                ends_at = starts[index + 1] if index + 1 < len(starts) else 2 * LATEST_MS
                yield ClockStop(starts_at, ends_at)

    def judge(
        self, build: Build, moment: int, connector_type: ConnectorType, tenant_id: str, known_at: int | None = None
    ) -> Judgement:
        """Judge a build under the policy and the catalogue in force at `moment`.

        Looking ahead, `known_at` is the moment at which that is done: what is announced later is left out, so that a
        replay sees ahead no further than the service did.
        """
        index, catalogue = self._policy_index(moment, known_at), self._catalogue_index(moment, known_at)
        policy = self.policies[index]
        is_covered = policy.cohort_percent >= 100 or policy.enforces_tenant(tenant_id)
        key = (build, index, catalogue, moment // DAY_MS, connector_type, is_covered)
        found = self._judged.get(key)
        if found is None:
            at = datetime.fromtimestamp(moment / 1000, UTC)
            tenant = None if is_covered else tenant_id
            found = judge(build, policy, self._catalogue(catalogue), at, connector_type, tenant)
            if len(self._judged) >= MAX_JUDGEMENTS:
                self._judged.clear()
            self._judged[key] = found
        return found


def _applies(start: int, announced: int, moment: int, known_at: int | None) -> bool:
    """Whether what begins at `start` is in force at `moment`, and was known of, or began, by `known_at`."""
    return start <= moment and (known_at is None or announced <= known_at or start <= known_at)
