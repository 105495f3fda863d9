"""The judgement table of the rule book, and what makes a ladder bad."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from streams.domain.exchange.build import JUDGED_PRODUCTS, Product, parse_build
from streams.domain.policy.judgement import Finding, Judgement, judge
from streams.domain.policy.policy import (
    DEFAULT_LADDER,
    Accept,
    ConnectorType,
    CriticalPatches,
    Policy,
    ProductRule,
    Stage,
    ladder_errors,
)
from streams.policies.catalogue.files import shipped_catalogue

NONE_ACCEPTED: dict[Product, ProductRule] = {product: ProductRule(Accept.NONE) for product in JUDGED_PRODUCTS}
AT = datetime(2026, 10, 8, tzinfo=UTC)
POLICY = Policy(
    policy_id="september",
    version=1,
    effective_at=datetime(2026, 9, 1, tzinfo=UTC),
    products=NONE_ACCEPTED
    | {
        Product.EXCHANGE_2016: ProductRule(Accept.FLOOR, (parse_build("15.1.2507.61"),)),
        Product.EXCHANGE_2019: ProductRule(Accept.FLOOR, (parse_build("15.2.1748.39"),)),
        Product.EXCHANGE_SE: ProductRule(Accept.ALL),
    },
)


def judged(build: str, policy: Policy = POLICY, at: datetime = AT) -> Judgement:
    return judge(parse_build(build), policy, shipped_catalogue(), at)


@pytest.mark.parametrize(
    ("build", "finding"),
    [
        ("15.1.2507.60", Finding.OUT_OF_DATE),
        ("15.1.2507.61", Finding.COMPLIANT),
        ("15.01.2507.061", Finding.COMPLIANT),
        ("15.1.2507", Finding.OUT_OF_DATE),
        ("15.1.2600.1", Finding.COMPLIANT),
        ("15.1.2375.37", Finding.UNSUPPORTED),
        ("15.2.1544.48", Finding.UNSUPPORTED),
        ("15.2.1748.38", Finding.OUT_OF_DATE),
        ("15.2.2562.17", Finding.COMPLIANT),
        ("15.0.1497.48", Finding.UNSUPPORTED),
        ("8.3.298.1", Finding.UNSUPPORTED),
        ("15.20.9009.0", Finding.NOT_EXCHANGE),
        ("99.1.1.1", Finding.UNDETERMINED),
    ],
)
def test_finding(build: str, finding: Finding) -> None:
    assert judged(build).finding is finding


def test_the_cure_is_named() -> None:
    found = judged("15.1.2507.39")
    assert str(found.required_build) == "15.1.2507.61"
    assert found.remedy is not None
    assert (found.remedy.name, found.remedy.kb) == ("Exchange Server 2016 CU23 Oct25SU", "KB5066369")


def test_a_build_below_the_floor_that_misses_no_fix_of_the_policy_is_told_just_that() -> None:
    assert judged("15.1.2507.39").reason == (
        "Exchange Server 2016 CU23 Apr24HU is below the oldest accepted build; 15.1.2507.61 or newer is required."
    )


def test_support_ends_with_its_last_day() -> None:
    of_2019 = replace(POLICY, products=POLICY.products | {Product.EXCHANGE_2019: ProductRule(Accept.NONE)})
    last, next_day = datetime(2025, 10, 14, 23, tzinfo=UTC), datetime(2025, 10, 15, tzinfo=UTC)
    name = "this server runs Exchange Server 2019 CU15 Oct25SU. Move to Exchange Server SE."
    assert judged("15.2.1748.39", of_2019, last).reason == f"Exchange Server 2019 is no longer accepted; {name}"
    assert judged("15.2.1748.39", of_2019, next_day).reason == (
        f"Exchange Server 2019 is no longer accepted (support ended on 2025-10-14); {name}"
    )


def test_a_policy_that_leaves_a_product_out_cannot_be_made() -> None:
    rest: dict[Product, ProductRule] = {
        product: rule for product, rule in POLICY.products.items() if product is not Product.EXCHANGE_SE
    }
    with pytest.raises(ValueError, match="products: Exchange Server SE: missing; every known product needs a rule"):
        replace(POLICY, products=rest)


def test_the_way_out_of_a_product_is_a_newer_one() -> None:
    rules = POLICY.products | {Product.EXCHANGE_SE: ProductRule(Accept.NONE)}
    found = judged("15.2.2562.53", replace(POLICY, products=rules))
    assert found.finding is Finding.UNSUPPORTED
    assert found.reason == (
        "Exchange Server SE is no longer accepted; this server runs Exchange Server SE RTM Sep26SUv2."
    )
    assert judged("15.0.1497.48", replace(POLICY, products=rules)).reason.endswith("Move to Exchange Server 2019.")


def test_rollout_keeps_what_the_finding_would_be() -> None:
    policy = replace(POLICY, rollout={Product.EXCHANGE_2013: date(2026, 10, 9)})
    before = judged("15.0.1497.48", policy)
    assert (before.finding, before.would_be) == (Finding.OUT_OF_SCOPE, Finding.UNSUPPORTED)
    assert judged("15.0.1497.48", policy, datetime(2026, 10, 9, tzinfo=UTC)).finding is Finding.UNSUPPORTED


def test_other_connectors_are_out_of_scope() -> None:
    found = judge(parse_build("8.3.298.1"), POLICY, shipped_catalogue(), AT, ConnectorType.PARTNER)
    assert (found.finding, found.would_be) == (Finding.OUT_OF_SCOPE, Finding.UNSUPPORTED)


def test_critical_patch_fails_only_after_its_grace() -> None:
    # The fix 15.2.2562.43 for CVE-2026-42897, listed as exploited, came out on 2026-06-09.
    policy = replace(POLICY, critical_patches=CriticalPatches(grace_days=30))
    assert judged("15.2.2562.41", policy, datetime(2026, 7, 9, tzinfo=UTC)).finding is Finding.COMPLIANT
    found = judged("15.2.2562.41", policy, datetime(2026, 7, 10, tzinfo=UTC))
    assert (found.finding, found.cves, str(found.required_build)) == (
        Finding.OUT_OF_DATE,
        ("CVE-2026-42897",),
        "15.2.2562.43",
    )


def test_raising_the_percentage_never_drops_a_tenant() -> None:
    tenants = [f"tenant-{number}" for number in range(2_000)]
    covered: set[str] = set()
    for percent in (0, 1, 10, 20, 50, 100):
        policy = replace(POLICY, cohort_percent=percent)
        now = {tenant for tenant in tenants if policy.enforces_tenant(tenant)}
        assert covered <= now
        assert len(now) == pytest.approx(percent * 20, abs=120)
        covered = now


def test_the_place_of_a_tenant_in_the_rollout_is_the_same_in_every_release() -> None:
    first = {"tenant-9951": 1, "tenant-703": 12, "tenant-257": 13, "tenant-1369": 13, "contoso": 80, "tenant-4343": 100}
    for tenant, percent in first.items():
        covered = [at for at in range(101) if replace(POLICY, cohort_percent=at).enforces_tenant(tenant)]
        assert covered == list(range(percent, 101)), tenant


def test_the_default_ladder_is_good() -> None:
    assert not ladder_errors(DEFAULT_LADDER)


@pytest.mark.parametrize(
    ("ladder", "names"),
    [
        ((), "ladder: empty"),
        ((Stage(1, 0, 0),), "ladder[0].from_day"),
        ((Stage(0, 61, 0),), "ladder[0].throttle_minutes_per_hour"),
        ((Stage(0, 40, 30),), "exceed 60"),
        ((Stage(0, 0, 0), Stage(0, 5, 0)), "ladder[1].from_day"),
        ((Stage(0, 10, 0), Stage(5, 5, 0)), "less strict"),
    ],
)
def test_a_bad_ladder_is_named(ladder: tuple[Stage, ...], names: str) -> None:
    assert any(names in error for error in ladder_errors(ladder))
