"""Commands to the engine, as API and page ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from streams.domain.tenant.audit import CommandOutcome
from streams.report.access.callers import Caller


class OutcomeKind(StrEnum):
    """What became of a command."""

    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    PENDING = "PENDING"
    """No worker has answered yet; it may still take effect."""


class Outcome(NamedTuple):
    """What became of a command, why, and how many days of pause are left this year where the engine has said so."""

    command_id: str
    kind: OutcomeKind
    reason: str | None = None
    quota_left_days: int | None = None


def outcome_told(command_id: str, record: Mapping[str, Any]) -> Outcome:
    """What an audit record says of a command."""
    is_accepted = record["outcome"] == CommandOutcome.ACCEPTED
    kind = OutcomeKind.ACCEPTED if is_accepted else OutcomeKind.REFUSED
    return Outcome(command_id, kind, record.get("reason"), record.get("quota_left_days"))


class CommandsUnavailableError(Exception):
    """Kafka does not take commands now; the same command may be sent again with the same id."""


@runtime_checkable
class CommandPort(Protocol):
    """Where commands go."""

    async def submit(self, caller: Caller, tenant: str, command: dict[str, Any]) -> Outcome:
        """Send a command and wait for what becomes of it.

        Args:
            caller: who gives it; role and name in the audit record are the caller's.
            tenant: whose servers it is about.
            command: `kind`, and what this kind needs of `server`, `days`, `owner`, `reason`, `build` and `expires_at`
                (UTC milliseconds). With a `command_id` it may have been sent before, and takes effect once.

        Raises:
            ValueError: it is no command; nothing was sent.
            CommandsUnavailableError: Kafka does not answer.
        """


@runtime_checkable
class OperatorPort(Protocol):
    """What an operator sees and does beside the tables."""

    async def dead_letters(self) -> int | None:
        """How many dead letters nobody has handled; None where it is not known."""

    async def release_all(self, caller: Caller, reason: str) -> Outcome:
        """Publish the policy in force in mode `report`: nobody is delayed or blocked until an announced one enforces.

        The outcome's id is `ID/VERSION` of what was published.

        Raises:
            CommandsUnavailableError: Kafka does not answer.
        """
