"""A policy to come is announced to the administrators whose servers will fall below."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from streams.domain.exchange.build import parse_build
from streams.domain.outputs.notification import AdminNotification, NotificationKind, Severity, notification_id
from streams.domain.policy.ladder import Action
from streams.domain.policy.policy import ConnectorType, Policy
from streams.domain.policy.rulebook import Rulebook
from streams.domain.time import DAY_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment
from tests.support.episodes import GOOD, OLD, POLICY, connection, kinds, run

ON_PREMISES = ConnectorType.ON_PREMISES
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


def test_an_announcement_says_everything_about_the_server_and_the_policy() -> None:
    found = run(connection(SWITCH - 60 * DAY_MS), SWITCH - DAY_MS, policies=upcoming(None))
    (note,) = (note for note in found.results.notifications if note.kind == "POLICY_ANNOUNCED")
    at, switch = "2026-09-01T00:00:00.000Z", f"microsoft-2026-09/1/{SWITCH}/{OLD}"
    kind = NotificationKind.POLICY_ANNOUNCED
    judged = Rulebook((POLICY,), shipped_catalogue()).judge(parse_build(OLD), SWITCH, ON_PREMISES, "contoso")
    assert judged.remedy is not None
    assert note.evidence is not None
    assert note.evidence.observed_at == SWITCH - 60 * DAY_MS
    assert OLD in (note.evidence.received or "")
    assert note == AdminNotification(
        notification_id=notification_id(kind, "contoso", "mx1.example.com", SWITCH, switch),
        kind=kind,
        severity=Severity.WARNING,
        tenant_id="contoso",
        server="mx1.example.com",
        occurred_at=SWITCH - 30 * DAY_MS,
        title=f"Exchange server mx1.example.com will no longer be accepted from {at} on",
        text=f"Policy microsoft-2026-09 version 1 takes effect at {at}. {judged.reason} "
        f"Install {judged.remedy.name} ({judged.remedy.kb}).",
        remedy=judged.remedy,
        link="https://aka.ms/BlockUnsafeExchange",
        stage=0,
        action=Action.ACCEPT,
        finding=judged.finding,
        build=parse_build(OLD),
        required_build=judged.required_build,
        next_stage_at=SWITCH,
        throttle_minutes_per_hour=0,
        block_minutes_per_hour=0,
        policy_id="microsoft-2026-09",
        policy_version=1,
        cves=shipped_catalogue().missing_cves(parse_build(OLD)),
        evidence=note.evidence,
    )


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
