"""A policy to come is announced to the administrators whose servers will fall below."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import Rulebook
from streams.domain.time import DAY_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment
from tests.support.episodes import GOOD, OLD, POLICY, connection, kinds, run

SWITCH = parse_moment("at", "2026-09-01T00:00:00Z")
BEFORE = replace(read_policy("microsoft-2023"), effective_at=POLICY.effective_at.replace(year=2024))


def told(found: Simulation) -> list[tuple[int, str | None, int | None]]:
    return [
        (note.occurred_at - SWITCH, note.server, note.next_stage_at)
        for note in found.results.notifications
        if note.kind == "POLICY_ANNOUNCED"
    ]


def upcoming(published_at: datetime | None) -> tuple[Policy, ...]:
    return BEFORE, replace(POLICY, published_at=published_at)


def test_servers_that_will_fall_below_are_announced_at_publication_and_start_afresh_after() -> None:
    published = POLICY.effective_at - timedelta(days=45)
    falls, stays = connection(SWITCH - 60 * DAY_MS), connection(SWITCH - 60 * DAY_MS, GOOD, "mx2.example.com")
    after = connection(SWITCH + DAY_MS), connection(SWITCH + DAY_MS, GOOD, "mx2.example.com")
    found = run(falls, stays, SWITCH, *after, policies=upcoming(published))
    assert told(found) == [(-45 * DAY_MS, "mx1.example.com", SWITCH)]
    assert [(row.stage, row.detected_at) for row in found.results.verdicts] == [(1, SWITCH + DAY_MS)]


def test_a_policy_of_unknown_publication_is_announced_30_days_ahead() -> None:
    found = run(connection(SWITCH - 60 * DAY_MS), SWITCH, policies=upcoming(None))
    assert told(found) == [(-30 * DAY_MS, "mx1.example.com", SWITCH)]


def test_a_server_first_seen_after_the_publication_is_announced_at_once_and_only_once() -> None:
    first = SWITCH - 5 * DAY_MS
    found = run(connection(first), connection(first + 1), connection(first + DAY_MS), SWITCH, policies=upcoming(None))
    assert told(found) == [(-5 * DAY_MS, "mx1.example.com", SWITCH)]


def test_a_build_that_appears_after_the_announcement_is_looked_at_again() -> None:
    good, old = connection(SWITCH - 40 * DAY_MS, GOOD), connection(SWITCH - 3 * DAY_MS, OLD)
    found = run(good, old, connection(SWITCH - DAY_MS, GOOD), SWITCH, policies=upcoming(None))
    assert told(found) == [(-3 * DAY_MS, "mx1.example.com", SWITCH)]


def test_a_server_in_an_episode_already_is_not_announced() -> None:
    strict = replace(POLICY, effective_at=POLICY.effective_at.replace(year=2024))
    later = replace(POLICY, version=2)
    found = run(connection(SWITCH - 60 * DAY_MS), SWITCH, policies=(strict, later))
    assert "POLICY_ANNOUNCED" not in kinds(found)


def test_two_sets_of_policies_have_two_fingerprints() -> None:
    catalogue = shipped_catalogue()
    one, two = Rulebook((POLICY,), catalogue), Rulebook((replace(POLICY, version=2),), catalogue)
    assert one.fingerprint != two.fingerprint
