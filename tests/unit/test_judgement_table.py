"""Judgement by the shipped policies, case by case, and what must hold for every build of the catalogue."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

from streams.domain.exchange.build import Product, parse_build
from streams.domain.policy.judgement import Finding, Judgement, judge
from streams.domain.policy.policy import Accept, ConnectorType, CriticalPatches, Mode, Policy, ProductRule
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy, shipped_policies

CATALOGUE = shipped_catalogue()
BUILDS_FILE = files("streams.policies.data") / "exchange_builds.csv"
ROWS = list(csv.DictReader(BUILDS_FILE.read_text(encoding="utf-8").splitlines()))
M23, M26, STRICT = "microsoft-2023", "microsoft-2026-09", "strict-critical"
OCTOBER = "2026-10-08"
GOOD, OLD, GONE = Finding.COMPLIANT, Finding.OUT_OF_DATE, Finding.UNSUPPORTED
UNKNOWN, OTHER = Finding.UNDETERMINED, Finding.NOT_EXCHANGE
OUT_2016 = ("15.1.2507.61", "Exchange Server 2016 CU23 Oct25SU", "KB5066369")
OUT_2019 = ("15.2.1748.39", "Exchange Server 2019 CU15 Oct25SU", "KB5066367")
YOUNGEST_CU15 = ("15.2.1748.39", "Exchange Server 2019 CU15 Sep26SUv2", "KB5129956")
JUNE_2016 = ("15.1.2507.69", "Exchange Server 2016 CU23 Jun26SU", "KB5094144")
JUNE_2019 = ("15.2.1748.46", "Exchange Server 2019 CU15 Jun26SU", "KB5094140")
JUNE_SE = ("15.2.2562.43", "Exchange Server SE RTM Jun26SU", "KB5094139")
MARCH_2016 = ("15.1.2507.23", "Exchange Server 2016 CU23 Mar23SU", "KB5024296")
MARCH_CU12 = ("15.2.1118.26", "Exchange Server 2019 CU12 Mar23SU", "KB5024296")
MARCH_CU11 = ("15.2.986.42", "Exchange Server 2019 CU11 Mar23SU", "KB5024296")
Cure = tuple[str, str, str] | None


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


def cure_of(found: Judgement) -> Cure:
    if found.required_build is None:
        assert found.remedy is None
        return None
    assert found.remedy is not None
    return str(found.required_build), found.remedy.name, found.remedy.kb or ""


@pytest.mark.parametrize(
    ("build", "policy", "moment", "finding", "cure"),
    [
        # The floor itself, one below, far below, and numbers that were never published.
        ("15.1.2507.61", M26, OCTOBER, GOOD, None),
        ("15.01.2507.061", M26, OCTOBER, GOOD, None),
        ("15.1.2507.60", M26, OCTOBER, OLD, OUT_2016),
        ("15.1.2507.59", M26, OCTOBER, OLD, OUT_2016),
        ("15.1.2507.6", M26, OCTOBER, OLD, OUT_2016),
        ("15.1.2507.5", M26, OCTOBER, OLD, OUT_2016),
        ("15.1.2507", M26, OCTOBER, OLD, OUT_2016),
        ("15.1.2507.62", M26, OCTOBER, GOOD, None),
        ("15.1.2507.75", M26, OCTOBER, GOOD, None),
        ("15.1.2507.99", M26, OCTOBER, GOOD, None),
        ("15.2.1748.39", M26, OCTOBER, GOOD, None),
        ("15.2.1748.38", M26, OCTOBER, OLD, OUT_2019),
        ("15.2.1748.10", M26, OCTOBER, OLD, OUT_2019),
        ("15.2.1748", M26, OCTOBER, OLD, OUT_2019),
        ("15.2.1748.40", M26, OCTOBER, GOOD, None),
        # Older CU lines, patched later than the floor or not; lines between; previews.
        ("15.1.2375.37", M26, OCTOBER, GONE, OUT_2016),
        ("15.1.2400.1", M26, OCTOBER, GONE, OUT_2016),
        ("15.1.2506.999", M26, OCTOBER, GONE, OUT_2016),
        ("15.1.225.42", M26, OCTOBER, GONE, OUT_2016),
        ("15.1.225.16", M26, OCTOBER, GONE, OUT_2016),
        ("15.1.2375", M26, OCTOBER, GONE, OUT_2016),
        # Not the update of October 2025: this server's own is younger.
        ("15.2.1544.48", M26, OCTOBER, GONE, YOUNGEST_CU15),
        ("15.2.1544.49", M26, OCTOBER, GONE, YOUNGEST_CU15),
        ("15.2.1544.36", M26, OCTOBER, GONE, OUT_2019),
        ("15.2.1544.37", M26, OCTOBER, GONE, ("15.2.1748.39", "Exchange Server 2019 CU15 Dec25SU", "KB5071875")),
        ("15.2.1258.39", M26, OCTOBER, GONE, OUT_2019),
        ("15.2.1600.1", M26, OCTOBER, GONE, OUT_2019),
        ("15.2.196.0", M26, OCTOBER, GONE, OUT_2019),
        # CU lines newer than every listed one.
        ("15.1.2508.0", M26, OCTOBER, GOOD, None),
        ("15.1.2600.1", M26, OCTOBER, GOOD, None),
        ("15.2.1749.1", M26, OCTOBER, GOOD, None),
        ("15.2.2561.9", M26, OCTOBER, GOOD, None),
        # SE, Exchange Online, and numbers of no product.
        ("15.2.2562.0", M26, OCTOBER, GOOD, None),
        ("15.2.2562.17", M26, OCTOBER, GOOD, None),
        ("15.2.2562.53", M26, OCTOBER, GOOD, None),
        ("15.2.3000.1", M26, OCTOBER, GOOD, None),
        ("15.20.9009.0", M26, OCTOBER, OTHER, None),
        ("15.21.496.13", M26, OCTOBER, OTHER, None),
        ("15.20.1", M26, OCTOBER, OTHER, None),
        ("15.3.1.1", M26, OCTOBER, UNKNOWN, None),
        ("5.5.2653.19", M26, OCTOBER, UNKNOWN, None),
        # Products without an accepted build.
        ("15.0.1497.48", M26, OCTOBER, GONE, None),
        ("15.0.1600.1", M26, OCTOBER, GONE, None),
        ("14.3.513.0", M26, OCTOBER, GONE, None),
        ("14.3.498.0", M26, OCTOBER, GONE, None),
        ("8.3.517.0", M26, OCTOBER, GONE, None),
        ("6.5.7638.0", M26, OCTOBER, GONE, None),
        ("6.0.6249.0", M26, OCTOBER, GONE, None),
        # The floors of the start of the programme; two accepted CU lines of one product.
        ("15.1.2507.22", M23, "2024-03-01", OLD, MARCH_2016),
        ("15.1.2507.23", M23, "2024-03-01", GOOD, None),
        ("15.1.2375.37", M23, "2024-03-01", GONE, MARCH_2016),
        ("15.2.1118.25", M23, "2024-03-01", OLD, MARCH_CU12),
        ("15.2.1118.26", M23, "2024-03-01", GOOD, None),
        ("15.2.986.41", M23, "2024-03-01", OLD, MARCH_CU11),
        ("15.2.986.42", M23, "2024-03-01", GOOD, None),
        ("15.2.1000.1", M23, "2024-03-01", GONE, MARCH_CU12),
        ("15.2.922.27", M23, "2024-03-01", GONE, MARCH_CU12),
        ("15.2.1258.12", M23, "2024-03-01", GOOD, None),
        # Critical patches: CVE-2026-42897, fixed on 2026-06-09, counts when more than 30 days have passed.
        ("15.1.2507.61", STRICT, "2026-07-09", GOOD, None),
        ("15.1.2507.61", STRICT, "2026-07-09T23:59:59.999", GOOD, None),
        ("15.1.2507.61", STRICT, "2026-07-10", OLD, JUNE_2016),
        ("15.1.2507.68", STRICT, OCTOBER, OLD, JUNE_2016),
        ("15.1.2507.69", STRICT, OCTOBER, GOOD, None),
        ("15.1.2507.60", STRICT, "2026-07-09", OLD, OUT_2016),
        ("15.1.2507.60", STRICT, OCTOBER, OLD, JUNE_2016),
        ("15.1.2507", STRICT, OCTOBER, OLD, JUNE_2016),
        ("15.1.2375.37", STRICT, "2026-07-09", GONE, OUT_2016),
        ("15.1.2375.37", STRICT, "2026-07-10", GONE, JUNE_2016),
        ("15.2.1748.45", STRICT, OCTOBER, OLD, JUNE_2019),
        ("15.2.1748.46", STRICT, OCTOBER, GOOD, None),
        ("15.2.1544.48", STRICT, OCTOBER, GONE, ("15.2.1748.46", *YOUNGEST_CU15[1:])),
        ("15.2.2562.41", STRICT, "2026-07-09", GOOD, None),
        ("15.2.2562.41", STRICT, "2026-07-10", OLD, JUNE_SE),
        ("15.2.2562.42", STRICT, OCTOBER, OLD, JUNE_SE),
        ("15.2.2562", STRICT, OCTOBER, OLD, JUNE_SE),
        ("15.2.2562.43", STRICT, OCTOBER, GOOD, None),
        ("15.2.2600.1", STRICT, OCTOBER, GOOD, None),
        ("15.1.2600.1", STRICT, OCTOBER, GOOD, None),
        ("14.3.513.0", STRICT, OCTOBER, GONE, None),
    ],
)
def test_case(build: str, policy: str, moment: str, finding: Finding, cure: Cure) -> None:
    found = judge(parse_build(build), read_policy(policy), CATALOGUE, at(moment))
    assert found.finding is finding
    assert cure_of(found) == cure
    assert found.would_be is None


@pytest.mark.parametrize(
    ("build", "last_day_outside", "would_be", "cure"),
    [
        ("8.3.517.0", "2023-07-31T23:59:59.999", GONE, None),
        ("14.3.513.0", "2023-08-31T23:59:59.999", GONE, None),
        ("15.0.1497.48", "2023-11-30T23:59:59.999", GONE, None),
        ("15.1.2507.22", "2024-02-29T23:59:59.999", OLD, MARCH_2016),
        ("15.1.2507.23", "2024-02-29T23:59:59.999", GOOD, None),
        ("15.2.1118.25", "2024-02-29T23:59:59.999", OLD, MARCH_CU12),
    ],
)
def test_enforcement_of_a_product_begins_on_its_day(
    build: str, last_day_outside: str, would_be: Finding, cure: Cure
) -> None:
    policy = read_policy(M23)
    before = judge(parse_build(build), policy, CATALOGUE, at(last_day_outside))
    assert (before.finding, before.would_be, cure_of(before)) == (Finding.OUT_OF_SCOPE, would_be, cure)
    after = judge(parse_build(build), policy, CATALOGUE, at(last_day_outside) + timedelta(milliseconds=1))
    assert (after.finding, after.would_be, cure_of(after)) == (would_be, None, cure)


@pytest.mark.parametrize("connector", [ConnectorType.PARTNER, ConnectorType.NONE])
@pytest.mark.parametrize(
    ("build", "would_be", "cure"),
    [
        ("8.3.517.0", GONE, None),
        ("15.1.2507.60", OLD, OUT_2016),
        ("15.1.2507.61", GOOD, None),
        ("15.2.1544.48", GONE, YOUNGEST_CU15),
    ],
)
def test_other_connectors_keep_what_it_would_be(
    build: str, would_be: Finding, cure: Cure, connector: ConnectorType
) -> None:
    found = judge(parse_build(build), read_policy(M26), CATALOGUE, at(OCTOBER), connector)
    assert (found.finding, found.would_be, cure_of(found)) == (Finding.OUT_OF_SCOPE, would_be, cure)
    assert connector.value in found.reason


def test_exchange_online_is_not_judged_over_any_connector() -> None:
    found = judge(parse_build("15.20.9009.0"), read_policy(M26), CATALOGUE, at(OCTOBER), ConnectorType.PARTNER)
    assert (found.finding, found.would_be) == (OTHER, None)


def test_a_tenant_outside_of_the_cohort_is_out_of_scope() -> None:
    policy = replace(read_policy(M26), cohort_percent=0)
    found = judge(parse_build("15.1.2507.60"), policy, CATALOGUE, at(OCTOBER), tenant_id="contoso")
    assert (found.finding, found.would_be, cure_of(found)) == (Finding.OUT_OF_SCOPE, OLD, OUT_2016)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_mode_changes_no_finding(mode: Mode) -> None:
    policy = replace(read_policy(M26), mode=mode)
    assert judge(parse_build("15.1.2507.60"), policy, CATALOGUE, at(OCTOBER)).finding is OLD


def patched(product: Product, *, known_only: bool = True, grace_days: int = 30) -> Policy:
    """A policy that accepts a product whole and insists on its critical patches."""
    return replace(
        read_policy(M26),
        products=read_policy(M26).products | {product: ProductRule(Accept.ALL)},
        critical_patches=CriticalPatches(grace_days, known_only),
    )


@pytest.mark.parametrize(
    ("build", "policy", "moment", "cure"),
    [
        # CU12 got no fix of its own for CVE-2024-21410, which CU14 of 2024-02-13 brought.
        ("15.2.1118.40", patched(Product.EXCHANGE_2019), "2024-03-14", None),
        (
            "15.2.1118.40",
            patched(Product.EXCHANGE_2019),
            "2024-03-15",
            ("15.2.1544.4", "Exchange Server 2019 CU14", "KB5035606"),
        ),
        # The CU itself brought that fix, so its three-part number and its components have it.
        ("15.2.1544", patched(Product.EXCHANGE_2019), "2024-03-15", None),
        ("15.2.1544.3", patched(Product.EXCHANGE_2019), "2024-03-15", None),
        # What CU13 misses in its own line has a later number in CU14, the only line with all the fixes.
        (
            "15.2.1258.34",
            patched(Product.EXCHANGE_2019, known_only=False, grace_days=0),
            "2024-12-31",
            ("15.2.1544.13", "Exchange Server 2019 CU14 Nov24SU", "KB5044062"),
        ),
        (
            "14.3.498.0",
            patched(Product.EXCHANGE_2010),
            OCTOBER,
            ("14.3.513.0", "Exchange Server 2010 SP3 RU32", "KB5000978"),
        ),
        (
            "14.2.390.3",
            patched(Product.EXCHANGE_2010),
            OCTOBER,
            ("14.3.513.0", "Exchange Server 2010 SP3 RU32", "KB5000978"),
        ),
        ("14.3.513.0", patched(Product.EXCHANGE_2010), OCTOBER, None),
        (
            "15.0.847.64",
            patched(Product.EXCHANGE_2013),
            OCTOBER,
            ("15.0.1497.47", "Exchange Server 2013 CU23 Feb23SU", "KB5023038"),
        ),
        ("15.0.1497.47", patched(Product.EXCHANGE_2013), OCTOBER, None),
        # A fix of the very day, without grace, counts from the next day on.
        ("15.2.2562.49", patched(Product.EXCHANGE_SE, known_only=False, grace_days=0), "2026-10-02", None),
        (
            "15.2.2562.49",
            patched(Product.EXCHANGE_SE, known_only=False, grace_days=0),
            "2026-10-03",
            ("15.2.2562.53", "Exchange Server SE RTM Sep26SUv2", "KB5129955"),
        ),
    ],
)
def test_critical_patches_without_a_floor(build: str, policy: Policy, moment: str, cure: Cure) -> None:
    found = judge(parse_build(build), policy, CATALOGUE, at(moment))
    assert (found.finding, cure_of(found)) == (OLD if cure else GOOD, cure)
    assert bool(found.cves) == bool(cure)


def test_a_floor_that_was_never_published_is_cured_by_the_next_update() -> None:
    floor = ProductRule(Accept.FLOOR, (parse_build("15.1.2507.62"),))
    policy = replace(read_policy(M26), products=read_policy(M26).products | {Product.EXCHANGE_2016: floor})
    found = judge(parse_build("15.1.2507.61"), policy, CATALOGUE, at(OCTOBER))
    assert cure_of(found) == ("15.1.2507.62", "Exchange Server 2016 CU23 Dec25SU", "KB5071873")


def test_the_reason_names_floor_and_fixes() -> None:
    found = judge(parse_build("15.1.2507.39"), read_policy(STRICT), CATALOGUE, at(OCTOBER))
    assert found.reason == (
        "Exchange Server 2016 CU23 Apr24HU is below the oldest accepted build and misses the fix for CVE-2026-42897;"
        " 15.1.2507.69 or newer is required."
    )


def test_a_reason_with_very_many_fixes_stays_a_sentence() -> None:
    every = replace(read_policy(M26), critical_patches=CriticalPatches(30, known_exploited_only=False))
    found = judge(parse_build("15.1.2507.63"), every, CATALOGUE, at(OCTOBER))
    assert len(found.cves) == 20
    assert found.reason == (
        f"Exchange Server 2016 CU23 Dec25SU misses the fixes for {', '.join(found.cves[:10])} and 10 others;"
        " 15.1.2507.72 or newer is required."
    )
    found = judge(parse_build("15.2.2562.46"), every, CATALOGUE, at("2026-11-03"))
    assert found.reason.endswith(f"misses the fixes for {', '.join(found.cves)}; 15.2.2562.53 or newer is required.")
    assert len(found.cves) == 10
    before = judge(parse_build("15.2.2562.45"), every, CATALOGUE, at("2026-09-11"))
    assert len(before.cves) == 7


def test_a_product_without_an_accepted_build_is_shown_the_way_out() -> None:
    found = judge(parse_build("15.0.1497.48"), read_policy(M26), CATALOGUE, at(OCTOBER))
    assert found.reason == (
        "Exchange Server 2013 is no longer accepted (support ended on 2023-04-11);"
        " this server runs Exchange Server 2013 CU23 Mar23SU. Move to Exchange Server SE."
    )


@pytest.mark.parametrize("name", shipped_policies())
@pytest.mark.parametrize("moment", ["2024-03-01", "2026-07-09", "2026-07-10", OCTOBER])
def test_what_is_required_of_any_published_build_is_accepted_and_cures_it(name: str, moment: str) -> None:
    policy = read_policy(name)
    number_of = {CATALOGUE.name(parse_build(row["build"])): parse_build(row["build"]) for row in ROWS}
    assert len(number_of) == len(ROWS)
    for row in ROWS:
        build = parse_build(row["build"])
        found = judge(build, policy, CATALOGUE, at(moment))
        if found.required_build is None:
            assert found.finding is GOOD or policy.products[Product(row["product"])].accept is Accept.NONE
            continue
        assert found.required_build > build
        assert judge(found.required_build, policy, CATALOGUE, at(moment)).finding is GOOD
        assert found.remedy is not None
        assert number_of[found.remedy.name].reaches(found.required_build)
        assert found.remedy.kb is None or found.remedy.kb.startswith("KB")
