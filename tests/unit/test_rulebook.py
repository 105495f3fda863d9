"""What a rulebook holds to be in force at a moment, and which switches it sees coming, to the millisecond."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import date, timedelta

import pytest

from streams.domain.exchange.build import JUDGED_PRODUCTS, Product, parse_build
from streams.domain.exchange.catalogue import Catalogue
from streams.domain.exchange.tables import catalogue_of
from streams.domain.policy.judgement import Finding
from streams.domain.policy.policy import Accept, ConnectorType, CriticalPatches, ProductRule
from streams.domain.policy.rulebook import PublishedCatalogue, Rulebook, effective_policies
from streams.policies.catalogue.files import shipped_catalogue, shipped_tables
from streams.policies.files import read_policy
from streams.wire.policy import from_millis
from streams.wire.records import parse_moment
from tests.support.catalogues import with_rows

CATALOGUE = shipped_catalogue()
POLICY = read_policy("microsoft-2026-09")
S = parse_moment("switch", "2026-11-01T00:00:00Z")
MILLISECOND = timedelta(milliseconds=1)


def shipped_without_fixes() -> Catalogue:
    return catalogue_of(with_rows(shipped_tables(), fixes=()))


def test_only_a_single_configured_policy_governs_from_before_all_that_are_published() -> None:
    second = replace(POLICY, policy_id="second")
    published = replace(POLICY, policy_id="published", effective_at=from_millis(S))
    assert effective_policies([POLICY], ()) == (POLICY,)
    assert effective_policies([POLICY, second], [published]) == (POLICY, second, published)
    late = replace(POLICY, effective_at=from_millis(S + 9))
    assert effective_policies([late], [published]) == (
        replace(POLICY, effective_at=published.effective_at - MILLISECOND),
        published,
    )


def test_a_switch_is_to_come_until_its_moment() -> None:
    later = replace(POLICY, version=2, effective_at=from_millis(S))
    rulebook = Rulebook((POLICY, later), CATALOGUE)
    assert [start for _, start in rulebook.switches_after(S - 1)] == [S]
    assert list(rulebook.switches_after(S)) == []
    assert (rulebook.next_switch_after(S - 1), rulebook.next_switch_after(S)) == (S, None)
    assert (rulebook.last_switch_at(S - 1), rulebook.last_switch_at(S)) == (0, S)


def test_what_is_told_of_only_after_it_began_is_known_from_its_beginning_on() -> None:
    late = PublishedCatalogue(1, from_millis(S), CATALOGUE, from_millis(S + 60_000))
    rulebook = Rulebook((POLICY,), shipped_without_fixes(), catalogues=(late,))
    assert rulebook.catalogue_at(S, known_at=S - 1) is rulebook.catalogue
    assert rulebook.catalogue_at(S, known_at=S) is late.catalogue


def test_a_rulebook_that_contradicts_itself_is_refused_with_the_reason() -> None:
    at = f"effective_at: {POLICY.effective_at.isoformat()}: "
    twin = replace(POLICY, policy_id="twin", version=4)
    name = f"{POLICY.policy_id} version {POLICY.version}"
    again = replace(POLICY, effective_at=from_millis(S))
    one, same_moment, same_version = [
        PublishedCatalogue(version, from_millis(moment), CATALOGUE) for version, moment in ((1, S), (2, S), (1, S + 1))
    ]
    for policies, catalogues, said in (
        ((), (), "policies: none given: at least one is required"),
        ((POLICY, twin), (), f"{at}{name} and twin version 4 both take effect at this time"),
        ((POLICY, again), (), f"version: {POLICY.version}: two policies are {name}: change the version of one"),
        (
            (POLICY,),
            (one, same_moment),
            "effective_at: 2026-11-01T00:00:00+00:00: catalogues 1 and 2 both take effect at this time",
        ),
        ((POLICY,), (one, same_version), "version: 1: two catalogues have this version"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
            Rulebook(policies, CATALOGUE, catalogues=catalogues)


def test_each_policy_and_catalogue_is_in_force_from_its_moment_to_the_next_and_the_first_policy_before_that() -> None:
    policies = [replace(POLICY, version=number, effective_at=from_millis(S + number)) for number in (1, 2, 3)]
    catalogues = [PublishedCatalogue(number, from_millis(S + 10 + number), CATALOGUE) for number in (1, 2, 3)]
    rulebook = Rulebook(tuple(policies), CATALOGUE, catalogues=tuple(catalogues))
    assert [rulebook.policy_at(S + number).version for number in range(5)] == [1, 1, 2, 3, 3]
    assert [rulebook.catalogue_version_at(S + 10 + number) for number in range(5)] == [0, 1, 2, 3, 3]


def test_what_is_not_announced_yet_is_left_out_of_a_look_ahead() -> None:
    announced = from_millis(S - 1_000)
    later = replace(POLICY, version=2, effective_at=from_millis(S), published_at=announced)
    rulebook = Rulebook((POLICY, later), CATALOGUE)
    known = [rulebook.policy_at(S, known_at).version for known_at in (S - 1_001, S - 1_000, S, None)]
    assert known == [POLICY.version, 2, 2, 2]


def test_a_judgement_ahead_takes_the_policy_and_the_catalogue_that_are_announced_by_then() -> None:
    announced = from_millis(S - 1_000)
    none: dict[Product, ProductRule] = {product: ProductRule(Accept.NONE) for product in JUDGED_PRODUCTS}
    later = replace(POLICY, version=2, products=none, effective_at=from_millis(S), published_at=announced)
    of_policy = Rulebook((POLICY, later), CATALOGUE)
    strict = replace(POLICY, critical_patches=CriticalPatches(0, known_exploited_only=False))
    with_fixes = PublishedCatalogue(1, from_millis(S), CATALOGUE, announced)
    of_catalogue = Rulebook((strict,), shipped_without_fixes(), catalogues=(with_fixes,))
    for rulebook, finding in ((of_policy, Finding.UNSUPPORTED), (of_catalogue, Finding.OUT_OF_DATE)):
        found = [
            rulebook.judge(parse_build("15.1.2507.61"), S, ConnectorType.ON_PREMISES, "contoso", known_at).finding
            for known_at in (S - 1_001, S - 1_000, None)
        ]
        assert found == [Finding.COMPLIANT, finding, finding]


def test_the_day_of_a_judgement_is_one_of_utc_wherever_the_worker_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    begins = replace(POLICY, rollout={Product.EXCHANGE_2016: date(2026, 11, 1)})
    for zone in ("EAST-14", "WEST12"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            rulebook = Rulebook((begins,), CATALOGUE)
            found = [
                rulebook.judge(parse_build("15.1.2507.39"), at, ConnectorType.ON_PREMISES, "contoso").finding
                for at in (S - 1, S)
            ]
        finally:
            monkeypatch.delenv("TZ")
            time.tzset()
        assert found == [Finding.OUT_OF_SCOPE, Finding.OUT_OF_DATE]
