"""What an override changes, and what ends it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.domain.exchange.build import parse_build
from streams.domain.policy.judgement import Finding
from streams.domain.policy.policy import Mode, Policy
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.override import ends_override
from streams.domain.server.rules import ServerRules
from streams.domain.tenant.commands import CommandKind
from streams.domain.tenant.override import Override
from streams.domain.tenant.waivers import NO_WAIVERS
from streams.domain.time import DAY_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.service.simulation import Simulation
from tests.support.commands import SERVER, command
from tests.support.episodes import DETECTED, GOOD, OLD, POLICY, connection, kinds, row, run

OLDER = "15.1.2507.35"
ACCEPTED = "15.1.2507.63"


def overridden(shown: str | None, build: str, policy: Policy = POLICY) -> Simulation:
    """A server that shows one build and is judged as another from the next day on."""
    found = run(connection(DETECTED, shown), policies=(policy,))
    fields = {"server": SERVER, "reason": "wrong stamp", "expires_at": DETECTED + 20 * DAY_MS}
    found.command(command(CommandKind.OVERRIDE_BUILD, DETECTED + DAY_MS, build=build, **fields))
    return found


@pytest.mark.parametrize(("build", "verdicts"), [(OLD, 1), (OLDER, 2)])
def test_within_an_episode_an_override_gives_a_verdict_where_it_changes_the_judgement(
    build: str, verdicts: int
) -> None:
    found = overridden(OLD, build)
    assert len(found.results.verdicts) == verdicts
    assert kinds(found) == ["SERVER_DETECTED", "OVERRIDE_APPLIED"]


def test_an_override_to_a_build_that_is_accepted_too_changes_nothing_else() -> None:
    found = overridden(GOOD, ACCEPTED)
    assert (found.results.verdicts, kinds(found)) == ([], ["OVERRIDE_APPLIED"])
    assert str(row(found).override_build) == ACCEPTED


def test_the_row_shows_at_once_that_a_higher_build_ended_an_override() -> None:
    found = overridden(ACCEPTED, GOOD)
    found.feed(connection(DETECTED + DAY_MS + 1, ACCEPTED))
    assert (kinds(found), row(found).override_build) == (["OVERRIDE_APPLIED", "OVERRIDE_ENDED"], None)


@pytest.mark.parametrize(("mode", "told", "stage"), [(Mode.OBSERVE, [], 0), (Mode.REPORT, ["SERVER_DETECTED"], 1)])
def test_an_override_begins_an_episode_only_under_a_policy_that_has_them(
    mode: Mode, told: list[str], stage: int
) -> None:
    found = overridden(GOOD, OLD, replace(POLICY, mode=mode))
    assert (kinds(found), row(found).stage) == (["OVERRIDE_APPLIED", *told], stage)


def test_a_connection_without_a_build_or_with_the_same_one_does_not_end_an_override() -> None:
    found = overridden(None, OLD)
    found.feed(connection(DETECTED + 2 * DAY_MS, None))
    found.feed(connection(DETECTED + 3 * DAY_MS, OLD))
    assert "OVERRIDE_ENDED" not in kinds(found)
    found.feed(connection(DETECTED + 4 * DAY_MS, GOOD))
    assert "OVERRIDE_ENDED" in kinds(found)


@pytest.mark.parametrize(
    ("shown", "of_override", "ends"),
    [
        (None, "15.1.2507.39", False),
        ("15.1.2507.39", "15.1.2507.39", False),
        ("15.1.2507.40", "15.1.2507.39", True),
        ("15.2.1544.4", "15.1.2507.39", True),
        ("15.1.2375.99", "15.1.2507.39", False),
        ("15.1.2507", "15.1.2507.0", False),
        ("15.1.2507.1", "15.1.2507", True),
        ("99.99.9999.9", "15.1.2507.39", False),
    ],
)
def test_a_stamp_above_the_build_of_an_override_ends_it(shown: str | None, of_override: str, ends: bool) -> None:
    rules = ServerRules(Rulebook((POLICY,), shipped_catalogue()), NO_WAIVERS)
    override = Override(parse_build(of_override), DETECTED + DAY_MS)
    assert ends_override(override, None if shown is None else parse_build(shown), rules, DETECTED) is ends


def test_a_row_shows_what_the_server_would_be_without_its_override() -> None:
    found = overridden(None, OLD)
    found.feed(connection(DETECTED + 2 * DAY_MS, OLDER))
    assert row(found).finding_without_override is Finding.OUT_OF_DATE
    assert str(row(found).build) == OLDER
