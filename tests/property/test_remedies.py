"""The update that a judgement names is accepted and never older than what the server has, under any policy."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.exchange.build import FIRST_SE_LINE, JUDGED_PRODUCTS, Build, Product, parse_build
from streams.domain.policy.judgement import Finding, judge
from streams.domain.policy.policy import Accept, CriticalPatches, Policy, ProductRule
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy, shipped_policies

CATALOGUE = shipped_catalogue()
BUILDS_FILE = files("streams.policies.data") / "exchange_builds.csv"
ROWS = list(csv.DictReader(BUILDS_FILE.read_text(encoding="utf-8").splitlines()))
BUILDS = {parse_build(row["build"]): row for row in ROWS}
NAMED = {CATALOGUE.name(build): build for build in BUILDS}
DAY_OF = {build: date.fromisoformat(row["release_date"]) for build, row in BUILDS.items()}
FIRST_DAY = datetime(2021, 1, 1, tzinfo=UTC)
DAYS = st.integers(0, 2200).map(lambda days: FIRST_DAY + timedelta(days=days))


@st.composite
def rules(draw: st.DrawFn, product: Product) -> ProductRule:
    """None, all, or floors at published builds of a few CU lines."""
    accept = draw(st.sampled_from(Accept))
    if accept is not Accept.FLOOR:
        return ProductRule(accept)
    published = [build for build in BUILDS if build.product is product]
    drawn = draw(st.lists(st.sampled_from(published), min_size=1, max_size=4, unique_by=lambda build: build.cu_line))
    return ProductRule(accept, tuple(drawn))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A shipped policy, or one with other rules for products and patches."""
    policy = read_policy(draw(st.sampled_from(shipped_policies())))
    if draw(st.booleans()):
        return policy
    patches = st.builds(CriticalPatches, st.sampled_from([0, 30]), st.booleans())
    return replace(
        policy,
        products={product: draw(rules(product)) for product in JUDGED_PRODUCTS},
        critical_patches=draw(st.none() | patches),
    )


def near(build: Build, step: int) -> Build:
    """A build whose last number is a little off; it may be one that was never published."""
    return build._replace(update=max(0, (build.update or 0) + step))


@settings(deadline=None)
@given(st.sampled_from(sorted(BUILDS, key=str)), st.sampled_from([0, 0, 0, -1, 1, 7]), policies(), DAYS)
def test_a_remedy_is_accepted_and_not_older_than_the_server(
    published: Build, step: int, policy: Policy, at: datetime
) -> None:
    build = near(published, step)
    # What the server has for certain: the newest published update of its CU line that its number reaches.
    reached = [DAY_OF[other] for other in BUILDS if CATALOGUE.counted_as(build).reaches(other)]
    found = judge(build, policy, CATALOGUE, at)
    if found.required_build is None:
        assert found.remedy is None
        return
    required = found.required_build
    suitable = [
        other
        for other, day in DAY_OF.items()
        if other.product is required.product
        and (other.reaches(required) or other.cu_line > required.cu_line)
        and (not reached or day >= max(reached))
        and _accepts(policy, other, at)
    ]
    if found.remedy is None:
        assert suitable == []
        return
    named = NAMED[found.remedy.name]
    assert named in suitable
    own_line = [other for other in suitable if other.cu_line == required.cu_line]
    assert named == min(own_line or suitable, key=lambda other: (other.cu_line, other.update or 0))
    assert found.remedy.kb == (BUILDS[named]["kb"] or None)


def _accepts(policy: Policy, build: Build, at: datetime) -> bool:
    found = judge(build, policy, CATALOGUE, at)
    return Finding.COMPLIANT in (found.finding, found.would_be)


@settings(deadline=None)
@given(st.sampled_from(shipped_policies()), DAYS)
def test_every_published_build_has_a_remedy_under_every_shipped_policy(name: str, at: datetime) -> None:
    policy = read_policy(name)
    for build, day in DAY_OF.items():
        found = judge(build, policy, CATALOGUE, at)
        if found.required_build is not None:
            assert found.remedy is not None
            assert DAY_OF[NAMED[found.remedy.name]] >= day


@settings(deadline=None)
@given(st.integers(1, FIRST_SE_LINE - 1), st.integers(0, 99), DAYS)
def test_a_cu_line_that_was_never_published_has_a_remedy(line: int, update: int, at: datetime) -> None:
    found = judge(Build(15, 2, line, update), read_policy("microsoft-2026-09"), CATALOGUE, at)
    assert (found.required_build is None) == (found.remedy is None)
