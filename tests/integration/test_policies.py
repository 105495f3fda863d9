"""Policies that are published while workers run: all switch at the moment of event time, and tell beforehand."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from streams.domain.policy.policy import Policy
from streams.domain.policy.publication import PublicationError
from streams.domain.time import MINUTE_MS, iso
from streams.kafka.provisioning import create_topics
from streams.operations.feeds import Collected, collect, produce_feed
from streams.policies import publishing
from streams.policies.configured import policy_topic_of
from streams.policies.files import read_policy
from streams.policies.publishing import publish
from streams.settings.worker import Settings
from streams.wire.policy import from_millis, to_millis
from tests.support.live import LENIENT, line, now_ms, of_kind, until_found, with_workers


@pytest.mark.timeout(150)
def test_a_policy_published_under_traffic_is_announced_and_governs_from_its_moment_on(settings: Settings) -> None:
    settings = replace(settings, policies=("microsoft-2023",), tick_seconds=0.2)
    servers = range(20)

    async def scenario() -> Collected:
        start = now_ms() - MINUTE_MS
        await produce_feed(settings, [line(server, start + server) for server in servers])
        await until_found(settings, lambda found: len(found.servers) == len(servers))
        # Live events may be up to five minutes ahead, so nobody has to wait for the moment.
        switch = now_ms() + 2 * MINUTE_MS
        policy = replace(read_policy("microsoft-2026-09"), effective_at=from_millis(switch))
        await publish(policy_topic_of(settings), settings.app_id, policy, [], "operator", "")
        await until_found(settings, lambda found: len(of_kind(found, "POLICY_ANNOUNCED")) == len(servers))
        before = [line(server, switch - 1 - server) for server in servers]
        after = [line(server, switch + server) for server in servers if server % 2]
        await produce_feed(settings, before + after)
        found = await until_found(settings, lambda found: len(found.verdicts) >= len(after))
        for row in found.verdicts:
            assert row["policy_id"] == "microsoft-2026-09"
            assert row["detected_at"] == switch + int(row["server"].removeprefix("mx").partition(".")[0])
        assert len(found.verdicts) == len(after)
        assert {row["next_stage_at"] for row in of_kind(found, "POLICY_ANNOUNCED")} == {switch}
        assert [row["kind"] for row in found.audit] == ["POLICY_PUBLISHED"]
        return found

    asyncio.run(with_workers(settings, scenario))


@pytest.mark.timeout(150)
def test_a_relaxed_policy_releases_silent_servers_at_its_moment(settings: Settings) -> None:
    settings = replace(settings, tick_seconds=0.2)

    async def scenario() -> Collected:
        start = now_ms() - MINUTE_MS
        await produce_feed(settings, [line(server, start + server) for server in range(10)])
        await until_found(settings, lambda found: len(found.verdicts) == 10)
        switch = now_ms() + 10_000
        policy = replace(LENIENT, effective_at=from_millis(switch))
        await publish(policy_topic_of(settings), settings.app_id, policy, [], "operator", "")
        found = await until_found(settings, lambda found: len(found.verdicts) == 20)
        released = [row for row in found.verdicts if row["revision"] == 2]
        assert {(row["stage"], row["issued_at"], row["policy_id"]) for row in released} == {(0, switch, "lenient")}
        assert len(of_kind(found, "SERVER_RESOLVED")) == 10
        return found

    asyncio.run(with_workers(settings, scenario))


@pytest.mark.timeout(60)
def test_a_policy_in_the_past_or_at_a_taken_moment_is_refused_and_leaves_no_trace(settings: Settings) -> None:
    async def scenario() -> list[str]:
        await create_topics(settings)
        topic = policy_topic_of(settings)
        future = from_millis(now_ms() + 30 * MINUTE_MS)
        await publish(topic, settings.app_id, replace(LENIENT, effective_at=future), [], "operator", "")
        refused: list[Policy] = [
            replace(LENIENT, version=2),
            replace(LENIENT, version=1, effective_at=future + timedelta(days=1)),
            replace(LENIENT, policy_id="other", effective_at=future),
        ]
        said = []
        for policy in refused:
            with pytest.raises(PublicationError) as error:
                await publish(topic, settings.app_id, policy, [], "operator", "")
            said.append(str(error.value).partition(":")[0])
        audit = (await collect(settings)).audit
        assert [row["occurred_at"] < to_millis(future) for row in audit] == [True]
        return said

    assert asyncio.run(scenario()) == ["effective_at", "version", "effective_at"]


@pytest.mark.timeout(60)
def test_a_change_of_mode_is_never_late_however_slow_kafka_is(
    settings: Settings, tes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = from_millis(now_ms() + 30 * MINUTE_MS)

    async def prepare() -> None:
        await create_topics(settings)
        coming = replace(LENIENT, effective_at=later)
        await publish(policy_topic_of(settings), settings.app_id, coming, [], "operator", "")

    asyncio.run(prepare())
    # Between two looks at the clock goes by more than a change of mode is ahead.
    began, looks = now_ms(), itertools.count()
    monkeypatch.setattr(publishing, "wall_clock_ms", lambda: began + MINUTE_MS * next(looks))
    for mode in ("observe", "report"):
        code, out, err = tes("policy", "mode", mode)
        assert code == 0, err
        assert f"({mode}) takes effect at " in out
        # A version to come that will overrule it is told.
        assert f"lenient version 1 takes effect at {iso(to_millis(later))} with mode enforce" in err
        assert re.search(rf"{mode} +topic +governs", tes("policy", "list")[1])
