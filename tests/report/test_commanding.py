"""Commands of callers while what takes them is slow or away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from streams.domain.tenant.audit import AuditRecord
from streams.errors import DependencyError
from streams.operations.commands import CommandTimeoutError
from streams.report.commanding import Commands
from streams.report.web.commands import CommandsUnavailableError, OutcomeKind
from tests.support.report_api import CALLERS

PAUSE = {"kind": "PAUSE_CREATE", "days": 1}


class Client:
    """A client whose start and answers fail as they are told."""

    def __init__(self, start: Exception | None = None, answer: Exception | None = None) -> None:
        self.starts, self.stops = 0, 0
        self._start, self._answer = start, answer

    async def start(self) -> None:
        self.starts += 1
        await asyncio.sleep(0)
        if self._start is not None:
            raise self._start

    async def stop(self) -> None:
        self.stops += 1

    async def submit(self, _command: dict[str, Any], _seconds: float) -> AuditRecord:
        assert self._answer is not None
        raise self._answer


async def not_known(_tenant: str, _command_id: str) -> None:
    """The tables say nothing of any command."""


def commands_over(client: Client) -> Commands:
    return Commands(lambda: client, not_known, lambda: 0)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("error", [KafkaConnectionError("away"), DependencyError("no registry")])
def test_who_asks_while_nothing_connects_is_told_at_once(error: Exception) -> None:
    client = Client(start=error)
    commands = commands_over(client)

    async def scenario() -> None:
        asked = (commands.submit(CALLERS["admin"], "contoso", PAUSE) for _ in range(20))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {CommandsUnavailableError}
        with pytest.raises(CommandsUnavailableError):
            await commands.submit(CALLERS["admin"], "contoso", PAUSE)
        await commands.close()

    asyncio.run(scenario())
    assert (client.starts, client.stops) == (1, 0)


@pytest.mark.parametrize("is_sent", [False, True])
def test_only_a_command_that_was_sent_is_pending(is_sent: bool) -> None:
    commands = commands_over(Client(answer=CommandTimeoutError("late", is_sent=is_sent)))

    async def scenario() -> None:
        if is_sent:
            found = await commands.submit(CALLERS["admin"], "contoso", PAUSE)
            assert found.kind is OutcomeKind.PENDING
        else:
            with pytest.raises(CommandsUnavailableError):
                await commands.submit(CALLERS["admin"], "contoso", PAUSE)

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [KafkaConnectionError("away"), DependencyError("no registry")])
def test_a_client_that_fails_is_given_up(error: Exception) -> None:
    client = Client(answer=error)
    commands = commands_over(client)

    async def scenario() -> None:
        for _ in range(2):
            with pytest.raises(CommandsUnavailableError):
                await commands.submit(CALLERS["admin"], "contoso", PAUSE)

    asyncio.run(scenario())
    assert (client.starts, client.stops) == (2, 2)
