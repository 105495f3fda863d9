"""`judge`: whether a policy accepts a build, and the update that fixes it if not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from streams.domain.exchange.build import JUDGED_PRODUCTS, Build, Product
from streams.domain.exchange.catalogue import Catalogue, Fix, Remedy
from streams.domain.policy.policy import Accept, ConnectorType, Policy

LISTED_CVES = 10
"""As many does a reason name, so that it stays a sentence; all of them are in `cves`."""

NEVER_JUDGED = "Exchange Online is never judged."


class Finding(StrEnum):
    """The outcome of a judgement; only OUT_OF_DATE and UNSUPPORTED are enforced."""

    COMPLIANT = "COMPLIANT"
    OUT_OF_DATE = "OUT_OF_DATE"
    UNSUPPORTED = "UNSUPPORTED"
    UNDETERMINED = "UNDETERMINED"
    NOT_EXCHANGE = "NOT_EXCHANGE"
    OUT_OF_SCOPE = "OUT_OF_SCOPE"

    @property
    def is_enforced(self) -> bool:
        """Whether the ladder applies to a server with this finding."""
        return self in (Finding.OUT_OF_DATE, Finding.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A finding with its reason in one sentence.

    `required_build` is the oldest build that would be accepted now. `remedy` is the oldest published update that has it
    and did not come out before the build that was judged. Both are None where nothing is wrong or the product has no
    accepted build. `cves` are the vulnerabilities whose fixes the policy insists on by now, not all that the build has.
    `would_be` is the finding outside of scope.
    """

    finding: Finding
    reason: str
    required_build: Build | None = None
    remedy: Remedy | None = None
    cves: tuple[str, ...] = ()
    would_be: Finding | None = None


def judge(
    build: Build,
    policy: Policy,
    catalogue: Catalogue,
    at: datetime,
    connector_type: ConnectorType = ConnectorType.ON_PREMISES,
    tenant_id: str | None = None,
) -> Judgement:
    """Judge a build at a moment (aware UTC) under a policy; without a tenant the cohort does not count."""
    product = catalogue.canonical(build).product
    if product is Product.EXCHANGE_ONLINE:
        return Judgement(Finding.NOT_EXCHANGE, NEVER_JUDGED)
    if product is None:
        return Judgement(Finding.UNDETERMINED, f"No Exchange product has build {build}.")
    verdict = _Judge(product, policy, catalogue, at).judgement(build)
    outside = _out_of_scope(product, policy, at, connector_type, tenant_id)
    if outside is None:
        return verdict
    return Judgement(
        Finding.OUT_OF_SCOPE, outside, verdict.required_build, verdict.remedy, verdict.cves, verdict.finding
    )


def _listed(cves: tuple[str, ...]) -> str:
    more = len(cves) - LISTED_CVES
    others = f" and {more} {'other' if more == 1 else 'others'}" if more > 0 else ""
    return ", ".join(cves[:LISTED_CVES]) + others


def _out_of_scope(
    product: Product, policy: Policy, at: datetime, connector_type: ConnectorType, tenant_id: str | None
) -> str | None:
    if connector_type not in policy.connector_types:
        return f"Connections over a connector of type {connector_type.value} are not judged."
    begins = policy.rollout.get(product)
    if begins is not None and at.date() < begins:
        return f"Enforcement of {product.value} begins on {begins.isoformat()}."
    if tenant_id is not None and not policy.enforces_tenant(tenant_id):
        return f"The tenant is not among the {policy.cohort_percent} % that this policy covers so far."
    return None


class _Judge:
    """One product under one policy at one moment."""

    def __init__(self, product: Product, policy: Policy, catalogue: Catalogue, at: datetime) -> None:
        self.product, self.policy, self.catalogue, self.at = product, policy, catalogue, at
        self.rule = policy.products[product]

    def judgement(self, build: Build) -> Judgement:
        """The finding, with the update that fixes it if the product has an accepted build."""
        name = self.catalogue.name(build)
        number = self.catalogue.counted_as(build)
        if self.rule.accept is Accept.NONE:
            return Judgement(Finding.UNSUPPORTED, self._no_longer_accepted(name))
        required = self._oldest_accepted_from(number)
        if required == number:
            return Judgement(Finding.COMPLIANT, f"{name} is accepted.")
        remedy = self._remedy(number, required)
        needs = f"{required} or newer is required."
        if self._newest_floor_above(number) is not None:
            reason = f"The CU line of {name} is no longer accepted; {needs}"
            return Judgement(Finding.UNSUPPORTED, reason, required, remedy)
        cves = tuple(sorted({fix.cve for fix in self._overdue(number)}))
        why = ["is below the oldest accepted build"] if self._missed_floor(number) else []
        why += [f"misses the {'fix' if len(cves) == 1 else 'fixes'} for {_listed(cves)}"] if cves else []
        reason = f"{name} {' and '.join(why)}; {needs}"
        return Judgement(Finding.OUT_OF_DATE, reason, required, remedy, cves)

    def _no_longer_accepted(self, name: str) -> str:
        ended = self.catalogue.support_ends_on(self.product)
        support = f" (support ended on {ended.isoformat()})" if ended and ended < self.at.date() else ""
        newer = JUDGED_PRODUCTS[JUDGED_PRODUCTS.index(self.product) + 1 :]
        accepted = [item for item in newer if self.policy.products[item].accept is not Accept.NONE]
        way_out = f" Move to {accepted[-1].value}." if accepted else ""
        return f"{self.product.value} is no longer accepted{support}; this server runs {name}.{way_out}"

    def _remedy(self, number: Build, required: Build) -> Remedy | None:
        """The oldest accepted update that has `required` and did not come out before what the server has.

        An update of an old CU may be younger than the oldest accepted update of a newer CU, which then fixes nothing.
        """
        present = self.catalogue.released_on(number)
        for release in self.catalogue.updates_from(required):
            is_younger = present is None or release.released_on >= present
            if is_younger and self._oldest_accepted_from(release.build) == release.build:
                return Remedy(release.name, release.kb)
        return None

    def _oldest_accepted_from(self, number: Build) -> Build:
        """`number` if it is accepted, else the oldest build above it that is.

        A fix may exist only in a newer CU, whose own missing fixes then count too; every round goes up, so it ends.
        """
        while True:
            newest_floor = self._newest_floor_above(number)
            floor = newest_floor or self._missed_floor(number)
            needed = [fix.fixed_build for fix in self._overdue(number)] if newest_floor is None else []
            if floor is not None:
                needed.append(floor)
            if not needed:
                return number
            number = max(needed, key=lambda build: (build.cu_line, build.update or 0))

    def _newest_floor_above(self, number: Build) -> Build | None:
        """The newest floor, where the CU line of `number` is neither listed nor newer than every listed one."""
        if self.rule.accept is not Accept.FLOOR or self.rule.floor_of(number) is not None:
            return None
        newest = max(self.rule.floors, key=lambda build: build.cu_line)
        return newest if number.cu_line < newest.cu_line else None

    def _missed_floor(self, number: Build) -> Build | None:
        floor = self.rule.floor_of(number) if self.rule.accept is Accept.FLOOR else None
        return None if floor is None or number.reaches(floor) else floor

    def _overdue(self, number: Build) -> list[Fix]:
        """The missing fixes that the policy insists on by now."""
        wanted = self.policy.critical_patches
        if wanted is None:
            return []
        grace = timedelta(days=wanted.grace_days)
        return [
            fix
            for fix in self.catalogue.missing_fixes(number)
            if self.at.date() > fix.fixed_on + grace and (fix.is_known_exploited or not wanted.known_exploited_only)
        ]
