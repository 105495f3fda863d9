"""Submits the command of `tes pause`, `tes exception` or `tes override`, and waits for its outcome."""

from __future__ import annotations

import argparse
import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

from aiokafka.errors import KafkaError

from streams.cli.messages import print_error
from streams.cli.options import EXIT_REFUSED, ISSUER_HELP, operator
from streams.cli.times import TypedTime
from streams.clock import wall_clock_ms
from streams.domain.tenant.audit import AuditRecord, CommandOutcome
from streams.domain.tenant.commands import CommandKind, Role
from streams.domain.validation import MalformedError, check_moment
from streams.kafka.topics import TopicError
from streams.operations.commands import CommandTimeoutError, command_client
from streams.settings.worker import Settings, read_settings
from streams.visible import visible
from streams.wire.records import to_json, to_record
from streams.wire.registry import registry_of


def add_command(actions: Any, name: str, text: str, role: Role, aliases: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Add an action that submits a command, with the options of all of them."""
    action: argparse.ArgumentParser = actions.add_parser(name, help=text, aliases=aliases)
    action.add_argument("--tenant", required=True)
    action.add_argument("--by", default=operator(), metavar="NAME", help=ISSUER_HELP)
    action.add_argument("--role", choices=[item.value for item in Role], default=role.value, help="(%(default)s)")
    action.add_argument("--command-id", help="idempotency key (default: random)")
    action.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="seconds to wait for the outcome (default: %(default)s)",
    )
    action.add_argument("--json", action="store_true", help="the audit record as JSON on stdout")
    action.set_defaults(run=run)
    return action


def add_end(action: argparse.ArgumentParser) -> None:
    """The options of a command that ends by itself."""
    action.add_argument("--reason", required=True)
    action.add_argument("--expires-at", required=True, metavar="DATE", help="when it ends, UTC")


def run(arguments: argparse.Namespace) -> int:
    """Submit the command; exit code 0 accepted, 1 Kafka failed or no outcome, 2 wrong usage, 3 refused."""
    given = vars(arguments)
    kind = arguments.kind
    if kind is CommandKind.PAUSE_CREATE and given["server"] is not None:
        kind = CommandKind.PAUSE_SERVER
    try:
        settings = read_settings()
        end = TypedTime.parse("--expires-at", given["expires_at"]) if given.get("expires_at") else None
        if end is not None:
            _check_end(end)
        command = {
            "command_id": arguments.command_id or str(uuid.uuid4()),
            "tenant_id": arguments.tenant,
            "issued_at": wall_clock_ms(),
            "issued_by": arguments.by,
            "role": arguments.role,
            "kind": kind.value,
            "expires_at": end.at if end else None,
            **{name: given.get(name) for name in ("days", "server", "owner", "reason", "build")},
        }
        is_new = arguments.command_id is None
        audit = asyncio.run(_submit(settings, command, arguments.timeout, is_new))
    except (ValueError, KafkaError, TopicError, CommandTimeoutError, OSError) as error:
        print_error(f"tes {arguments.command} {arguments.action}", error)
        return 2 if isinstance(error, ValueError) else 1
    if arguments.json:
        print(json.dumps(to_json(to_record(audit))))
    else:
        reason = end.quote(audit.reason) if end and audit.reason else audit.reason
        why = f": {reason}" if reason else ""
        print(visible(f"{audit.kind} {audit.outcome}{why}"))
        print(f"days of pause left this year: {audit.quota_left_days}")
    return 0 if audit.outcome is CommandOutcome.ACCEPTED else EXIT_REFUSED


def _check_end(end: TypedTime) -> None:
    """Refuse a time that no command may hold; whether it is late enough is for the worker to say.

    Raises:
        MalformedError: it is before 2000 or from 2100 on.
    """
    try:
        check_moment("expires_at", end.at, None)
    except MalformedError as error:
        raise MalformedError(end.quote(str(error))) from None


async def _submit(settings: Settings, command: dict[str, Any], seconds: float, is_new: bool) -> AuditRecord:
    async with command_client(settings, registry_of(settings)) as client:
        return await client.submit(command, seconds, is_new=is_new)
