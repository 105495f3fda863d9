"""A client of commands that lives, the test in the place of the worker that answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streams.cli.main import main
from streams.domain.tenant.audit import AuditRecord, CommandOutcome
from streams.domain.tenant.commands import CommandKind
from streams.kafka.follower import KafkaLog, TopicFollower
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.shutdown import cancel_and_wait
from streams.kafka.topics import TOPICS
from streams.operations.commands import CommandClient, CommandTimeoutError, command_client
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec, RecordEncodingError
from streams.wire.records import to_record
from streams.wire.registry import registry_of

Answer = Callable[[dict[str, Any]], list[bytes]]
"""The audit records, good or bad, that answer a command."""


def command(command_id: str, tenant: str = "t") -> dict[str, Any]:
    return {
        "command_id": command_id,
        "tenant_id": tenant,
        "issued_at": 1_700_000_000_000,
        "issued_by": "admin",
        "role": "TENANT_ADMIN",
        "kind": "PAUSE_CREATE",
        "days": 5,
    }


def audit(settings: Settings, command: dict[str, Any], reason: str | None = None) -> bytes:
    record = AuditRecord(
        audit_id=f"audit-{command['command_id']}",
        command_id=command["command_id"],
        tenant_id=command["tenant_id"],
        kind=CommandKind.PAUSE_CREATE,
        outcome=CommandOutcome.ACCEPTED,
        reason=reason,
        issued_by="admin",
        occurred_at=1_700_000_000_000,
        quota_left_days=85,
        before=None,
        after=None,
    )
    return AvroCodec("audit_record", registry_of(settings)).encode(to_record(record))


@asynccontextmanager
async def answering(settings: Settings, answer: Answer) -> AsyncIterator[list[dict[str, Any]]]:
    """Answers every command; gives those that came so far."""
    cluster, codec = cluster_of(settings), AvroCodec("admin_command", registry_of(settings))
    follower = TopicFollower(KafkaLog(cluster, [settings.topic(TOPICS["admin_command"])]))
    taken: list[dict[str, Any]] = []

    async def answer_all() -> None:
        async with cluster.producer() as producer:
            while True:
                for record in await follower.poll():
                    taken.append(codec.decode(record.value))
                    for value in answer(taken[-1]):
                        await producer.send(settings.topic(TOPICS["audit_record"]), value, key=record.key)

    await follower.start()
    task = asyncio.create_task(answer_all())
    try:
        yield taken
    finally:
        await cancel_and_wait(task)
        await follower.stop()


def run(settings: Settings, answer: Answer, scenario: Callable[[CommandClient, list[Any]], Awaitable[None]]) -> None:
    async def whole() -> None:
        await create_topics(settings)
        client = command_client(settings, registry_of(settings))
        async with answering(settings, answer) as taken, client:
            await scenario(client, taken)

    asyncio.run(whole())


def test_many_at_a_time_get_each_its_own_outcome(settings: Settings) -> None:
    waiting: list[dict[str, Any]] = []

    def answer_from_behind(command: dict[str, Any]) -> list[bytes]:
        waiting.append(command)
        if len(waiting) < 40:
            return []
        return [audit(settings, item, item["command_id"]) for item in reversed(waiting)]

    async def scenario(client: CommandClient, _: list[Any]) -> None:
        commands = [command(f"c{number}", "tenant") for number in range(40)]
        outcomes = await asyncio.gather(*(client.submit(item, 30) for item in commands))
        assert [item.command_id for item in outcomes] == [item["command_id"] for item in commands]
        assert [item.reason for item in outcomes] == [item["command_id"] for item in commands]

    run(settings, answer_from_behind, scenario)


def test_one_after_the_other_use_the_same_connections(settings: Settings) -> None:
    async def scenario(client: CommandClient, taken: list[Any]) -> None:
        for number in range(3):
            outcome = await client.submit(command(f"c{number}", f"tenant-{number}"), 30)
            assert (outcome.command_id, outcome.tenant_id) == (f"c{number}", f"tenant-{number}")
        assert len(taken) == 3

    run(settings, lambda item: [audit(settings, item)], scenario)


def test_one_that_is_submitted_again_has_its_first_outcome_and_is_not_sent(settings: Settings) -> None:
    async def scenario(client: CommandClient, taken: list[Any]) -> None:
        first = await client.submit(command("once"), 30, is_new=False)
        assert await client.submit(command("once"), 30, is_new=False) == first
        assert len(taken) == 1

    run(settings, lambda item: [b"?", audit(settings, item)], scenario)


def test_without_an_outcome_it_says_that_the_command_is_pending(settings: Settings) -> None:
    async def scenario(client: CommandClient, taken: list[Any]) -> None:
        with pytest.raises(CommandTimeoutError, match="no outcome of command lost within 1 s: is a worker running"):
            await client.submit(command("lost"), 1)
        assert [item["command_id"] for item in taken] == ["lost"]

    run(settings, lambda _: [], scenario)


def test_what_is_no_command_is_not_sent(settings: Settings) -> None:
    async def scenario(client: CommandClient, taken: list[Any]) -> None:
        with pytest.raises(RecordEncodingError, match="days"):
            await client.submit(command("bad") | {"days": "five"}, 30)
        await client.submit(command("good"), 30)
        assert [item["command_id"] for item in taken] == ["good"]

    run(settings, lambda item: [audit(settings, item)], scenario)


def test_a_foreign_audit_record_does_not_make_a_sent_command_a_wrong_usage(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    async def scenario() -> tuple[int, int]:
        await create_topics(settings)
        async with answering(settings, lambda item: [b"?", audit(settings, item)]) as taken:
            code = await asyncio.to_thread(main, ["pause", "create", "--tenant", "t", "--days", "5"])
            return code, len(taken)

    assert asyncio.run(scenario()) == (0, 1)
    assert "is not an audit record" in caplog.text
