"""`judge`: whether a policy accepts a build, and what would cure it if not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from streams.domain.build import Build, Product
from streams.domain.catalogue import Catalogue, Remedy
from streams.domain.policy import Accept, ConnectorType, Policy, ProductRule


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

    `required_build` is the oldest build that would be accepted now, `remedy` the published update that has it; both
    None where nothing is wrong or the product has no accepted build. `would_be` is the finding outside of scope.
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
    number = catalogue.canonical(build)
    product = number.product
    if product is Product.EXCHANGE_ONLINE:
        return Judgement(Finding.NOT_EXCHANGE, "Exchange Online is never judged.")
    if product is None:
        return Judgement(Finding.UNDETERMINED, f"No Exchange product has build {number}.")
    verdict = _in_scope(number, product, policy, catalogue, at)
    outside = _out_of_scope(product, policy, at, connector_type, tenant_id)
    if outside is None:
        return verdict
    return Judgement(
        Finding.OUT_OF_SCOPE, outside, verdict.required_build, verdict.remedy, verdict.cves, verdict.finding
    )


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


def _in_scope(number: Build, product: Product, policy: Policy, catalogue: Catalogue, at: datetime) -> Judgement:
    rule = policy.products.get(product, ProductRule(Accept.NONE))
    name = catalogue.name(number)
    if rule.accept is Accept.NONE:
        return Judgement(Finding.UNSUPPORTED, f"{product.value} is no longer accepted; this server runs {name}.")
    floor = rule.floor_of(number) if rule.accept is Accept.FLOOR else None
    if rule.accept is Accept.FLOOR and floor is None:
        newest = max(rule.floors, key=lambda build: build.cu_line)
        if number.cu_line < newest.cu_line:
            remedy = catalogue.remedy(newest)
            reason = f"The CU line of {name} is no longer accepted; {newest} or newer is required."
            return Judgement(Finding.UNSUPPORTED, reason, newest, remedy)
    missing = []
    if policy.critical_patches is not None:
        grace = timedelta(days=policy.critical_patches.grace_days)
        missing = [
            fix
            for fix in catalogue.missing_fixes(number)
            if at.date() > fix.fixed_on + grace
            and (fix.is_known_exploited or not policy.critical_patches.known_exploited_only)
        ]
    below = floor is not None and not number.reaches(floor)
    if not below and not missing:
        return Judgement(Finding.COMPLIANT, f"{name} is accepted.")
    needed = [fix.fixed_build for fix in missing] + ([floor] if below and floor is not None else [])
    required = max(needed, key=lambda build: (build.cu_line, build.update or 0))
    cves = tuple(sorted({fix.cve for fix in missing}))
    why = f"misses the fixes for {', '.join(cves)}" if cves else "is below the oldest accepted build"
    reason = f"{name} {why}; {required} or newer is required."
    return Judgement(Finding.OUT_OF_DATE, reason, required, catalogue.remedy(required), cves)
