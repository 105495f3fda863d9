"""The command line against a running service: commands and outcomes, the report, what another policy would change."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import replace
from typing import Any

import pytest

from streams.domain.time import DAY_MS
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations import outcomes
from streams.operations.feeds import collect, produce_feed, start_worker
from streams.settings.worker import Settings
from tests.support.live import line, now_ms, until_found

SERVER = "mx1.example.com"
OPERATOR = ("--tenant", "tenant-1", "--server", SERVER, "--reason", "moves")


@pytest.mark.timeout(150)
def test_commands_take_effect_on_a_running_service_and_are_shown(settings: Settings, tes: Any) -> None:
    begun = now_ms() - 35 * DAY_MS

    async def start() -> asyncio.subprocess.Process:
        await create_topics(settings)
        await produce_feed(settings, [line(1, begun), line(1, now_ms() - DAY_MS), line(2, begun)])
        worker = await start_worker(replace(settings, tick_seconds=0.2), None)
        await until_found(settings, lambda found: len(found.verdicts) == 4)
        return worker

    with asyncio.Runner() as runner:
        worker = runner.run(start())
        try:
            assert given(tes("pause", "create", "--tenant", "tenant-1", "--days", "1", "--json")) == (0, "ACCEPTED", 89)
            assert rows(tes, "--status", "PAUSED") == [SERVER]
            extended = tes("pause", "extend", "--tenant", "tenant-1", "--days", "2", "--command-id", "once", "--json")
            assert given(extended)[:2] == (0, "ACCEPTED")
            again = tes("pause", "extend", "--tenant", "tenant-1", "--days", "2", "--command-id", "once", "--json")
            assert given(again) == given(extended)
            assert given(tes("pause", "cancel", "--tenant", "tenant-1", "--json")) == (0, "ACCEPTED", 89)
            refused = tes("pause", "create", "--tenant", "tenant-1", "--days", "400")
            assert refused[0] == 3
            assert "days are left in that year" in refused[1]
            assert tes("exception", "grant", *OPERATOR, "--owner", "mail", "--expires-at", "2090-01-01")[0] == 0
            assert rows(tes, "--status", "EXEMPT") == [SERVER]
            assert tes("exception", "revoke", "--tenant", "tenant-1", "--server", SERVER)[0] == 0
            assert rows(tes, "--status", "THROTTLED") == [SERVER, "mx2.example.com"]
            code, out, _ = tes("whatif", "--policy", "microsoft-2023", "--kafka", "--json")
            assert (code, json.loads(out)["totals"]) == (
                0,
                {"servers": 2, "changed": 2, "newly_enforced": 0, "released": 2},
            )
            build = ("--build", "15.1.2507.61", "--expires-at", "2090-01-01")
            assert tes("override", "build", *OPERATOR, *build)[0] == 0
            assert rows(tes, "--status", "RESOLVED") == [SERVER]
            code, out, _ = tes("servers", "show", SERVER, "--tenant", "tenant-1")
            assert code == 0
            assert "with Microsoft SMTP Server id 15.1.2507.39" in out
            unknown = tes("exception", "revoke", "--tenant", "tenant-1", "--server", "mx9.example.com")
            assert unknown[:2] == (3, unknown[1])
            assert "server: 'mx9.example.com': is unknown" in unknown[1]
        finally:
            worker.send_signal(signal.SIGTERM)
            assert runner.run(worker.wait()) == 0
        found = runner.run(collect(settings))
    kinds = {row["kind"] for row in found.notifications}
    assert {"PAUSE_STARTED", "PAUSE_EXTENDED", "PAUSE_CANCELLED", "EXCEPTION_GRANTED", "OVERRIDE_APPLIED"} <= kinds
    assert {"EXCEPTION_REVOKED", "COMMAND_REFUSED", "SERVER_RESOLVED"} <= kinds
    assert len(found.audit) == 8


def given(result: tuple[int, str, str]) -> tuple[int, str, int]:
    audit = json.loads(result[1])
    return result[0], audit["outcome"], audit["quota_left_days"]


def rows(tes: Any, *words: str) -> list[str]:
    code, out, _ = tes("servers", "list", "--json", *words)
    assert code == 0
    return [row["Server"] for row in json.loads(out)]


def test_without_a_worker_a_command_says_that_nobody_answers(settings: Settings, tes: Any) -> None:
    asyncio.run(create_topics(settings))
    code, out, err = tes("pause", "create", "--tenant", "t", "--days", "5", "--timeout", "1")
    assert (code, out) == (1, "")
    assert "is a worker running?" in err
    assert "still pending: retry with --command-id " in err


@pytest.mark.timeout(150)
def test_a_command_asked_for_again_counts_once_and_its_first_outcome_is_found(
    settings: Settings, tes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "WINDOW", 5)
    cluster = cluster_of(settings)
    topics = {name: settings.topic(TOPICS[name]) for name in ("admin_command", "audit_record")}
    words = ("pause", "create", "--tenant", "tenant-1", "--days", "5", "--command-id", "once", "--json")

    async def count(name: str) -> int:
        return len([record async for record in read_settled(cluster, topics[name]) if record.key == b"tenant-1"])

    async def answered() -> asyncio.subprocess.Process:
        worker = await start_worker(replace(settings, tick_seconds=0.2), None)
        await until_found(settings, lambda found: len(found.audit) == 1)
        return worker

    async def add_others() -> None:
        """Records of other tenants in every partition, which nobody can decode."""
        producer = cluster.producer()
        await producer.start()
        try:
            for partition in await producer.partitions_for(topics["audit_record"]):
                for _ in range(23):
                    await producer.send_and_wait(topics["audit_record"], b"?", b"another", partition=partition)
        finally:
            await producer.stop()

    with asyncio.Runner() as runner:
        runner.run(create_topics(settings))
        pending = [tes(*words, "--timeout", "1") for _ in range(2)]
        assert [code for code, _, _ in pending] == [1, 1]
        assert all("still pending: retry with --command-id once" in err for _, _, err in pending)
        assert runner.run(count("admin_command")) == 2
        worker = runner.run(answered())
        try:
            first = tes(*words)
            assert given(first) == (0, "ACCEPTED", 85)
        finally:
            worker.send_signal(signal.SIGTERM)
            assert runner.run(worker.wait()) == 0
        runner.run(add_others())
        # No worker runs: the outcome can only be the first one, and nothing is written to find it.
        assert tes(*words, "--timeout", "20") == first
        assert runner.run(count("admin_command")) == 2
        assert runner.run(count("audit_record")) == 1


def test_without_topics_the_missing_one_is_named(tes: Any) -> None:
    for words in (("servers", "list"), ("policy", "list"), ("pause", "cancel", "--tenant", "t")):
        code, out, err = tes(*words)
        assert (code, out) == (1, "")
        assert "does not exist" in err
        assert "tes topics create" in err
