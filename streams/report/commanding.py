"""Submits commands for callers; the only place where a command's role and issuer come from."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka.errors import KafkaError

from streams.domain.tenant.audit import CommandOutcome
from streams.domain.tenant.commands import Role
from streams.errors import DependencyError
from streams.kafka.topics import TopicError
from streams.operations.commands import CommandClient, CommandTimeoutError
from streams.report.access.callers import AccessRole, Caller
from streams.report.web.commands import CommandsUnavailableError, Outcome, OutcomeKind

ANSWER_SECONDS: Final = 10.0
"""How long an outcome is waited for; a worker answers within a second or two."""
AWAY_SECONDS: Final = 3.0
"""How long commands are refused at once where nothing could be connected."""
_ROLES: Final = {AccessRole.TENANT_ADMIN: Role.TENANT_ADMIN, AccessRole.OPERATOR: Role.OPERATOR}
_FIELDS: Final = ("days", "server", "owner", "reason", "build", "expires_at")
_FAILURES: Final = (KafkaError, TopicError, DependencyError, TimeoutError)

Known = Callable[[str, str], Awaitable[Outcome | None]]
"""What the tables say became of a tenant's command, by its id."""


class Commands:
    """A client for commands that is connected when the first one comes, and again after a failure."""

    def __init__(self, connect: Callable[[], CommandClient], known: Known, clock: Callable[[], int]) -> None:
        """Nothing is connected yet; `clock` gives UTC milliseconds."""
        self._connect, self._known, self._clock = connect, known, clock
        self._connecting: asyncio.Task[CommandClient] | None = None
        self._away: tuple[float, str] = (float("-inf"), "")

    async def submit(self, caller: Caller, tenant: str, command: dict[str, Any]) -> Outcome:
        """See `CommandPort`. One that was sent before is answered from the tables; the engine takes none twice."""
        role = _ROLES.get(caller.role)
        if role is None:
            raise ValueError(f"role: {caller.role}: must be tenant-admin or operator")
        given = command.get("command_id")
        if given is not None and (known := await self._known(tenant, given)) is not None:
            return known
        record = {
            "command_id": given or str(uuid.uuid4()),
            "tenant_id": tenant,
            "issued_at": self._clock(),
            "issued_by": caller.name,
            "role": role.value,
            "kind": command["kind"],
            **{name: command.get(name) for name in _FIELDS},
        }
        client = await self._connected()
        try:
            audit = await client.submit(record, ANSWER_SECONDS)
        except CommandTimeoutError as error:
            if not error.is_sent:
                raise CommandsUnavailableError(str(error)) from error
            return Outcome(record["command_id"], OutcomeKind.PENDING)
        except _FAILURES as error:
            await self.close()
            raise CommandsUnavailableError(str(error)) from error
        kind = OutcomeKind.ACCEPTED if audit.outcome is CommandOutcome.ACCEPTED else OutcomeKind.REFUSED
        return Outcome(record["command_id"], kind, audit.reason, audit.quota_left_days)

    async def _connected(self) -> CommandClient:
        """The client; who asks while it connects shares the attempt, and who asks soon after a failure its reason."""
        at, why = self._away
        if time.monotonic() - at < AWAY_SECONDS:
            raise CommandsUnavailableError(why)
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._started())
        connecting = self._connecting
        try:
            return await asyncio.shield(connecting)
        except _FAILURES as error:
            if self._connecting is connecting:
                self._connecting, self._away = None, (time.monotonic(), str(error))
            raise CommandsUnavailableError(str(error)) from error

    async def _started(self) -> CommandClient:
        client = self._connect()
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.start()
        return client

    async def close(self) -> None:
        """Disconnect."""
        connecting, self._connecting = self._connecting, None
        if connecting is None:
            return
        if not connecting.done():
            connecting.cancel()
        await asyncio.wait({connecting})
        if not connecting.cancelled() and connecting.exception() is None:
            await connecting.result().stop()
