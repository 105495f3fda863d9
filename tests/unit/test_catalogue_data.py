"""The shipped tables: sound, and complete where a policy asks for every fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.exchange.build import Build, Product, parse_build
from streams.domain.exchange.catalogue import Catalogue, Fix
from streams.domain.policy.judgement import Finding, judge
from streams.domain.policy.policy import CriticalPatches
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.catalogue.tables import KEYS, Row, Tables, faults, fixed_in, read_tables
from streams.policies.files import read_policy

TABLES = read_tables(Path(str(files("streams.policies.data"))))
CATALOGUE = shipped_catalogue()
ALL_CRITICAL = replace(
    read_policy("microsoft-2026-09"), critical_patches=CriticalPatches(grace_days=30, known_exploited_only=False)
)
JULY = ("CVE-2026-55005", "CVE-2026-55006", "CVE-2026-55008", "CVE-2026-55009")
AUGUST = (
    *("CVE-2026-62910", "CVE-2026-62911", "CVE-2026-62912", "CVE-2026-62913", "CVE-2026-62914", "CVE-2026-62915"),
    "CVE-2026-65813",
)
SEPTEMBER = (
    *("CVE-2026-69355", "CVE-2026-69356", "CVE-2026-69361", "CVE-2026-69375", "CVE-2026-69378", "CVE-2026-69380"),
    *("CVE-2026-69382", "CVE-2026-69641"),
)
OCTOBER = ("CVE-2026-96940",)


def test_the_shipped_tables_do_not_contradict_each_other() -> None:
    assert faults(TABLES) == []


def changed(name: str, column: str, value: str, index: int = 0) -> Tables:
    """The shipped tables with one value of one row changed."""
    rows = [dict(row) for row in TABLES[name]]
    rows[index][column] = value
    return Tables(TABLES.rows | {name: rows})


def without(name: str, chosen: Callable[[Row], bool]) -> Tables:
    """The shipped tables without some rows of one."""
    return Tables(TABLES.rows | {name: [row for row in TABLES[name] if not chosen(row)]})


@pytest.mark.parametrize(
    ("tables", "named"),
    [
        (
            changed("exchange_builds.csv", "build", "15.2.2562.99"),
            "15.2.2562.99: is not a four-part build of Exchange 2000",
        ),
        (changed("exchange_builds.csv", "release_date", ""), "has no release date"),
        (changed("exchange_builds.csv", "release_date", "2000-11-31"), "release_date: 2000-11-31: must be a date"),
        (changed("exchange_builds.csv", "release_date", "20001129"), "release_date: 20001129: must be a date"),
        (changed("exchange_builds.csv", "kb", "5066369"), "kb: 5066369: must be as KB5066369"),
        (changed("exchange_builds.csv", "kind", "QFE"), "QFE, false: is not a kind of update"),
        (changed("exchange_builds.csv", "release", "SP1"), "Exchange 2000 Server SP1 : names more than one build"),
        (changed("exchange_build_aliases.csv", "maps_to", ""), "maps_to: : must be a published build"),
        (changed("exchange_build_aliases.csv", "maps_to", "6.5.1.0"), "maps_to: 6.5.1.0: must be a published build"),
        (changed("exchange_build_aliases.csv", "build", "6.5.7638.0"), "6.5.7638.0: is a published build itself"),
        (changed("exchange_cves.csv", "kev_date", "soon", -1), "kev_date: soon: must be a date"),
        (changed("exchange_cves.csv", "fixed_in", "", -1), "fixed_in: : must be 2016 CU23: 15.1.2507.75"),
        (changed("exchange_cve_fixes.csv", "release", "CU22", -2), "release: CU22: exchange_builds.csv says CU15"),
        (changed("exchange_cve_fixes.csv", "fixed_date", "2026-10-03", -1), "exchange_builds.csv says 2026-10-02"),
        (changed("exchange_cve_fixes.csv", "fixed_build", "15.2.2562.54", -1), "does not have the build"),
        (changed("exchange_cve_fixes.csv", "fixed_build", "15.2.1748.51", -1), "has 2 fixes in the CU line 15.2.1748"),
        (changed("exchange_cve_fixes.csv", "fixed_build", "15.2.1748.53", -1), "15.2.1748.53: is there 2 times"),
        (changed("exchange_cve_fixes.csv", "cve", "CVE-2020-0688", -1), "exchange_cve_fixes.csv: is not sorted"),
        (without("exchange_cves.csv", lambda row: row["cve"] == "CVE-2026-96940"), "does not have the vulnerability"),
        (
            without("exchange_cve_fixes.csv", lambda row: row["cve"] == "CVE-2026-96940"),
            "must say why no build fixes it",
        ),
    ],
)
def test_a_fault_is_named(tables: Tables, named: str) -> None:
    assert any(named in fault for fault in faults(tables)), faults(tables)


@pytest.mark.parametrize("name", KEYS)
def test_a_row_that_is_there_twice_is_named(name: str) -> None:
    tables = Tables(TABLES.rows | {name: [*TABLES[name], TABLES[name][-1]]})
    assert any(fault.startswith(f"{name}: ") and fault.endswith("is there 2 times") for fault in faults(tables))


@pytest.mark.parametrize(
    ("build", "day", "missing"),
    [
        ("15.1.2507.69", "2026-08-13", ()),
        ("15.1.2507.69", "2026-08-14", JULY),
        ("15.1.2507.69", "2026-11-20", (*JULY, *AUGUST, *SEPTEMBER, *OCTOBER)),
        ("15.1.2507.71", "2026-09-10", ()),
        ("15.1.2507.71", "2026-09-11", AUGUST),
        ("15.1.2507.71", "2026-11-20", (*AUGUST, *SEPTEMBER, *OCTOBER)),
        ("15.1.2507.72", "2026-10-08", ()),
        ("15.1.2507.72", "2026-11-20", (*SEPTEMBER, *OCTOBER)),
        ("15.1.2507.73", "2026-11-01", ()),
        ("15.1.2507.73", "2026-11-20", OCTOBER),
        ("15.1.2507.75", "2026-11-20", ()),
        # CVE-2026-55007 is not of Exchange 2016.
        ("15.2.2562.46", "2026-11-01", ("CVE-2026-55007", *SEPTEMBER)),
        ("15.2.1748.49", "2026-11-01", ("CVE-2026-55007", *SEPTEMBER)),
    ],
)
def test_a_policy_that_asks_for_every_fix_finds_those_of_each_month(
    build: str, day: str, missing: tuple[str, ...]
) -> None:
    found = judge(parse_build(build), ALL_CRITICAL, CATALOGUE, datetime.fromisoformat(day).replace(tzinfo=UTC))
    assert (found.finding, found.cves) == (Finding.OUT_OF_DATE if missing else Finding.COMPLIANT, missing)


def test_a_vulnerability_without_a_fix_says_why() -> None:
    unfixed = [row for row in TABLES["exchange_cves.csv"] if not fixed_in(row["cve"], TABLES["exchange_cve_fixes.csv"])]
    assert len(unfixed) >= 7
    assert all(row["note"] for row in unfixed)


LINES = sorted({parse_build(row["build"]).cu_line for row in TABLES["exchange_builds.csv"]})
NUMBERS = st.tuples(st.sampled_from(LINES), st.integers(-1, 1), st.none() | st.integers(0, 90))


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_missing_fixes_do_not_depend_on_what_was_asked_before(
    asked: list[tuple[tuple[int, int, int], int, int | None]],
) -> None:
    catalogue = catalogue_of_fixes()
    for (major, minor, line), step, update in asked:
        build = Build(major, minor, max(0, line + step), update)
        assert list(catalogue.missing_fixes(build)) == missing_by_the_rule(build)


FIXES = [
    Fix(row["cve"], parse_build(row["fixed_build"]), datetime.fromisoformat(row["fixed_date"]).date())
    for row in TABLES["exchange_cve_fixes.csv"]
]


def catalogue_of_fixes() -> Catalogue:
    """A catalogue without builds, so that numbers count as they are."""
    return Catalogue((), {}, FIXES)


def missing_by_the_rule(build: Build) -> list[Fix]:
    """Fix by fix: in the own CU line by the number, else named by the newest line where that is a newer one."""
    product: Product | None = build.product
    missing = []
    for name in {fix.cve for fix in FIXES}:
        fixes = [fix for fix in FIXES if fix.cve == name and fix.fixed_build.product is product]
        own = [fix for fix in fixes if fix.fixed_build.cu_line == build.cu_line]
        newest = max(fixes, key=lambda fix: fix.fixed_build.cu_line, default=None)
        if own:
            missing += [fix for fix in own if (build.update or 0) < (fix.fixed_build.update or 0)]
        elif newest is not None and build.cu_line < newest.fixed_build.cu_line:
            missing.append(newest)
    return sorted(missing, key=lambda fix: (fix.fixed_on, fix.cve))
