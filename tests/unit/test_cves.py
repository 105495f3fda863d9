"""Which vulnerabilities a server has: the same list in verdict, notification, row and `tes inspect`, and bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from streams.cli.main import main
from streams.domain.exchange.build import Build, Product, parse_build
from streams.domain.exchange.catalogue import MAX_CVES, Catalogue, Fix, Release
from streams.domain.policy.judgement import Finding, judge
from streams.domain.policy.policy import CriticalPatches, Policy
from streams.domain.policy.rulebook import Rulebook
from streams.domain.tenant.commands import CommandKind
from streams.domain.time import DAY_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.service.simulation import Simulation
from tests.support.commands import command
from tests.support.episodes import DETECTED, GOOD, OLD, POLICY, connection, row, run

SHIPPED = shipped_catalogue()
AT = datetime(2026, 11, 1, tzinfo=UTC)


def strict(**changes: bool) -> Policy:
    return replace(POLICY, critical_patches=CriticalPatches(grace_days=30, **changes))


def inspected(build: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str) -> list[str]:
    message = tmp_path / "m.eml"
    message.write_text(f"Received: from a by mx1.example.com with Microsoft SMTP Server id {build}; x\n\nbody")
    assert main(["inspect", str(message), "--policy", policy, "--at", "2026-10-31", "--json"]) == 0
    found: list[str] = json.loads(capsys.readouterr().out)["cves"]
    return found


@pytest.mark.parametrize("policy", ["microsoft-2026-09", "strict-critical"])
def test_verdict_notification_and_row_name_what_inspect_shows(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(connection(DETECTED), connection(DETECTED + DAY_MS, GOOD))
    first, last = found.results.verdicts
    detected, *_, resolved = found.results.notifications
    old, good = (tuple(inspected(build, tmp_path, capsys, policy)) for build in (OLD, GOOD))
    assert "CVE-2024-49040" in old
    assert (first.cves, detected.cves) == (old, old)
    # Accepted is not without vulnerabilities: the list says so before and after.
    assert last.finding is Finding.COMPLIANT
    assert good
    assert (last.cves, resolved.cves, row(found).cves) == (good, good, good)


def test_an_announcement_names_them_too() -> None:
    effective_at = datetime.fromtimestamp(DETECTED / 1000, UTC) + timedelta(days=60)
    later = replace(POLICY, policy_id="later", effective_at=effective_at)
    # Exchange 2016 as SE: every build is accepted.
    products = {**POLICY.products, Product.EXCHANGE_2016: POLICY.products[Product.EXCHANGE_SE]}
    earlier = replace(POLICY, policy_id="earlier", products=products, effective_at=datetime(2023, 1, 1, tzinfo=UTC))
    found = run(connection(DETECTED), DETECTED + 59 * DAY_MS, policies=(earlier, later))
    (note,) = (note for note in found.results.notifications if note.kind == "POLICY_ANNOUNCED")
    assert note.cves == SHIPPED.missing_cves(parse_build(OLD))


def test_under_an_override_they_are_those_of_the_build_that_is_judged() -> None:
    found = run(connection(DETECTED))
    fields = {"server": "mx1.example.com", "build": GOOD, "reason": "wrong stamp"}
    ends = DETECTED + 30 * DAY_MS
    found.command(command(CommandKind.OVERRIDE_BUILD, DETECTED + DAY_MS, expires_at=ends, **fields))
    assert found.results.verdicts[-1].cves == row(found).cves == SHIPPED.missing_cves(parse_build(GOOD))


def test_a_server_without_a_build_has_none() -> None:
    found = run(connection(DETECTED, None))
    assert row(found).cves == ()


def with_fixes(count: int, exploited: int = 0) -> Catalogue:
    """A catalogue of one CU line whose every update but the first fixes one vulnerability more."""
    begin = date(2020, 1, 1)
    releases = [
        Release(Build(15, 1, 2507, number), Product.EXCHANGE_2016, "CU23", f"U{number}", begin, "KB1")
        for number in (1, 39, 61, *range(100, 101 + count))
    ]
    fixes = [
        Fix(f"CVE-2020-{10_000 + number}", Build(15, 1, 2507, 101 + number), begin + timedelta(number), is_exploited)
        for number in range(count)
        for is_exploited in [number < exploited]
    ]
    return Catalogue(releases, {}, fixes)


def test_the_list_is_sorted_and_bounded_and_what_is_exploited_or_new_is_kept() -> None:
    catalogue = with_fixes(MAX_CVES + 40, exploited=3)
    found = catalogue.missing_cves(parse_build(OLD))
    assert list(found) == sorted(found)
    assert len(found) == len(set(found)) == MAX_CVES
    assert found[:4] == ("CVE-2020-10000", "CVE-2020-10001", "CVE-2020-10002", "CVE-2020-10043")
    assert found[-1] == f"CVE-2020-{10_000 + MAX_CVES + 39}"


def test_the_shipped_table_is_far_from_the_bound() -> None:
    builds = [parse_build(text) for text in ("15.1.225.42", "15.2.196.0", "15.0.516.32", "14.0.639.21", OLD)]
    for build in builds:
        found = SHIPPED.missing_cves(build)
        assert found == tuple(sorted({fix.cve for fix in SHIPPED.missing_fixes(build)}))
        assert 0 < len(found) < MAX_CVES


def test_builds_that_senders_invent_are_not_remembered_for_ever() -> None:
    catalogue = with_fixes(3)
    for number in range(10_000):
        assert catalogue.missing_cves(Build(15, 1, 2507, 200 + number)) == ()
    assert catalogue.missing_cves(parse_build(OLD)) == ("CVE-2020-10000", "CVE-2020-10001", "CVE-2020-10002")
    assert len(catalogue._missing_cves) < 5_000


def test_names_of_builds_that_senders_invent_are_not_remembered_for_ever() -> None:
    catalogue = with_fixes(3)
    for number in range(10_000):
        assert catalogue.name(Build(99, 1, 2507, number)) == (
            f"Unknown product (build 99.1.2507.{number} is not in the catalogue)"
        )
    assert len(catalogue._names) < 5_000


def test_a_newer_catalogue_makes_no_noise() -> None:
    """Every connection with the same build is counted as before; what is written next has the longer list."""
    found = Simulation(Rulebook((POLICY,), with_fixes(1)))
    found.feed(connection(DETECTED))
    (verdict,) = found.results.verdicts
    notes = len(found.results.notifications)
    newer = Simulation(Rulebook((POLICY,), with_fixes(2)))
    ((key, state),) = found.states.items()
    newer.keep_server(key, state, DETECTED + DAY_MS)
    for hours in range(1, 48):
        newer.feed(connection(DETECTED + hours * DAY_MS // 24))
    assert newer.results.verdicts == []
    assert newer.results.notifications == []
    assert notes == 1
    assert (len(verdict.cves), len(row(newer).cves)) == (1, 2)


def test_a_reason_stays_one_readable_sentence() -> None:
    catalogue = with_fixes(60)
    policy = strict(known_exploited_only=False)
    found = judge(parse_build(GOOD), policy, catalogue, AT)
    assert (found.finding, len(found.cves)) == (Finding.OUT_OF_DATE, 60)
    assert "misses the fixes for CVE-2020-10000, " in found.reason
    assert ", CVE-2020-10009 and 50 others; 15.1.2507.160 or newer is required." in found.reason
    one_more = judge(parse_build(GOOD), policy, with_fixes(11), AT).reason
    assert ", CVE-2020-10009 and 1 other; " in one_more
    few = judge(parse_build(GOOD), policy, with_fixes(10), AT).reason
    assert "CVE-2020-10009; 15.1.2507.110" in few
    assert "more" not in few
