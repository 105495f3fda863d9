"""Commands of callers and announced policies, with a real worker and a real Kafka."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from streams.domain.time import DAY_MS
from streams.kafka.provisioning import create_topics
from streams.operations.commands import command_client
from streams.operations.feeds import collect, produce_feed, start_worker
from streams.policies.configured import configured_policies, policy_topic_of
from streams.policies.publishing import publish
from streams.report.commanding import Commands, Known
from streams.report.operating import Operating
from streams.report.rules import RulesInForce
from streams.report.web.commands import CommandsUnavailableError, Outcome, OutcomeKind
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings
from streams.wire.policy import from_millis
from streams.wire.registry import LocalRegistry
from tests.support.live import LENIENT, line, now_ms, until_found
from tests.support.report_api import CALLERS

TENANT = "tenant-1"


def report_settings_of(settings: Settings) -> ReportSettings:
    return ReportSettings(bootstrap=settings.bootstrap, topic_prefix=settings.topic_prefix)


async def not_known(_tenant: str, _command_id: str) -> None:
    """The tables say nothing of any command."""


def commands_of(settings: Settings, known: Known = not_known) -> Commands:
    return Commands(lambda: command_client(report_settings_of(settings), LocalRegistry()), known, now_ms)


@pytest.mark.timeout(150)
def test_what_the_engine_says_comes_back_to_who_asked(settings: Settings) -> None:
    async def scenario() -> None:
        await create_topics(settings)
        await produce_feed(settings, [line(1, now_ms())])
        worker = await start_worker(replace(settings, tick_seconds=0.2), None)
        outcomes: dict[tuple[str, str], Outcome] = {}

        async def known(tenant: str, command_id: str) -> Outcome | None:
            return outcomes.get((tenant, command_id))

        commands = commands_of(settings, known)
        try:
            await until_found(settings, lambda found: len(found.verdicts) == 1)
            pause: dict[str, Any] = {
                "kind": "PAUSE_CREATE",
                "days": 5,
                "reason": "Update on Sunday",
                "command_id": "p1",
            }
            first = await commands.submit(CALLERS["admin"], TENANT, pause)
            assert (first.command_id, first.kind, first.quota_left_days) == ("p1", OutcomeKind.ACCEPTED, 85)
            outcomes[TENANT, "p1"] = first
            assert await commands.submit(CALLERS["admin"], TENANT, pause) == first
            until = {"expires_at": now_ms() + DAY_MS}
            grant = {"kind": "EXCEPTION_GRANT", "server": "mx1.example.com", "owner": "o", "reason": "r"} | until
            refused = await commands.submit(CALLERS["admin"], TENANT, grant)
            assert refused.kind is OutcomeKind.REFUSED
            assert "role" in (refused.reason or "")
            assert (await commands.submit(CALLERS["operator"], TENANT, grant)).kind is OutcomeKind.ACCEPTED
            with pytest.raises(ValueError, match="role: tenant-reader"):
                await commands.submit(CALLERS["reader"], TENANT, pause)
            found = await until_found(settings, lambda found: len(found.audit) == 3)
            assert [(row["issued_by"], row["outcome"]) for row in found.audit] == [
                ("Ada Admin", "ACCEPTED"),
                ("Ada Admin", "REFUSED"),
                ("Olga Operator", "ACCEPTED"),
            ]
        finally:
            await commands.close()
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0

    asyncio.run(scenario())


@pytest.mark.timeout(150)
def test_without_a_worker_a_command_is_pending_and_without_kafka_it_is_not_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.report.commanding.ANSWER_SECONDS", 2.0)

    async def scenario() -> None:
        await create_topics(settings)
        commands = commands_of(settings)
        found = await commands.submit(CALLERS["admin"], TENANT, {"kind": "PAUSE_CREATE", "days": 1, "command_id": "p"})
        assert (found.command_id, found.kind) == ("p", OutcomeKind.PENDING)
        await commands.close()
        away = Commands(
            lambda: command_client(ReportSettings(bootstrap="127.0.0.1:9", topic_prefix="x"), LocalRegistry()),
            not_known,
            now_ms,
        )
        with pytest.raises(CommandsUnavailableError):
            await away.submit(CALLERS["admin"], TENANT, {"kind": "PAUSE_CREATE", "days": 1})
        await away.close()

    asyncio.run(scenario())


@pytest.mark.timeout(150)
def test_an_announced_policy_is_known_with_what_it_will_hit(settings: Settings) -> None:
    async def scenario() -> None:
        await create_topics(settings)
        report_settings = report_settings_of(settings)
        rules = RulesInForce(policy_topic_of(report_settings), configured_policies(report_settings))
        following = asyncio.create_task(rules.run())
        try:
            now = now_ms()
            assert (rules.announced(now), rules.quota_days(now)) == ([], 90)
            coming = replace(LENIENT, effective_at=from_millis(now + 40 * DAY_MS), version=7)
            await publish(policy_topic_of(settings), settings.app_id, coming, [], "operator", "")
            async with asyncio.timeout(60):
                while not (found := rules.announced(now)):
                    await asyncio.sleep(0.1)
            assert [(one.name, one.effective_at) for one in found] == [("lenient/7", now + 40 * DAY_MS)]
            await produce_feed(settings, [line(1, now - DAY_MS), line(2, now, "15.2.2562.20")])
            worker = await start_worker(settings, None)
            await until_found(settings, lambda found: len(found.servers) == 2)
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0
            reports = list((await collect(settings)).servers.values())
            (hit,) = rules.hits(reports, "lenient/7", now)
            assert (hit.server, hit.finding_before, hit.finding_after) == (
                "mx1.example.com",
                "OUT_OF_DATE",
                "COMPLIANT",
            )
            with pytest.raises(KeyError):
                rules.hits(reports, "lenient/8", now)
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    asyncio.run(scenario())


@pytest.mark.timeout(150)
def test_an_operator_sees_dead_letters_and_releases_everybody(settings: Settings) -> None:
    settings = replace(settings, tick_seconds=0.2)

    async def scenario() -> None:
        await create_topics(settings)
        report_settings = report_settings_of(settings)
        begun = now_ms() - 35 * DAY_MS
        await produce_feed(settings, [line(1, begun), line(1, now_ms() - DAY_MS), b'{"event_id": 7}'])
        worker = await start_worker(settings, None)
        topic = policy_topic_of(report_settings)
        operating = Operating(report_settings, topic, configured_policies(report_settings), time.monotonic)
        try:
            found = await until_found(settings, lambda found: len(found.verdicts) == 2 and bool(found.dead_letters))
            assert found.verdicts[-1]["action"] == "THROTTLE"
            assert await operating.dead_letters() == 1
            outcome = await operating.release_all(CALLERS["operator"], "a wrong catalogue")
            assert (outcome.command_id, outcome.kind) == ("microsoft-2026-09/2", OutcomeKind.ACCEPTED)
            found = await until_found(settings, lambda found: len(found.verdicts) == 3)
            assert (found.verdicts[-1]["action"], found.audit[-1]["issued_by"]) == ("ACCEPT", "Olga Operator")
        finally:
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0

    asyncio.run(scenario())
