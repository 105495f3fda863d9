"""`tes pause`, `tes exception`, `tes override`: submit a command and wait for its outcome."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from typing import Any

from aiokafka.errors import KafkaError

from streams.cli.messages import print_error
from streams.cli.options import ISSUER_HELP, operator
from streams.domain.tenant.audit import AuditRecord, CommandOutcome
from streams.domain.tenant.commands import CommandKind, Role
from streams.kafka.topics import TopicError
from streams.operations.commands import CommandTimeoutError, command_client
from streams.settings.worker import Settings, read_settings
from streams.visible import visible
from streams.wire.records import parse_day_or_moment, to_json, to_record
from streams.wire.registry import registry_of

EXIT_REFUSED = 3
"""Exit code of a command that was refused."""


def add_parser(commands: Any) -> None:
    """Add the commands to `tes`."""
    pause = commands.add_parser("pause", help="pause enforcement for days of the yearly quota")
    actions = pause.add_subparsers(dest="action", required=True)
    for name, text in (("create", "pause enforcement, or extend the current pause"), ("extend", "the same as create")):
        action = _command(actions, name, text, Role.TENANT_ADMIN)
        action.add_argument("--days", type=int, required=True, help="number of 24-hour days, from now")
        action.add_argument("--server", help="only this server (default: the whole tenant)")
        action.set_defaults(kind=CommandKind.PAUSE_CREATE)
    action = _command(actions, "cancel", "end the current pause; unused whole days are refunded", Role.TENANT_ADMIN)
    action.add_argument("--server", help="pause of this server (default: of the tenant)")
    action.set_defaults(kind=CommandKind.PAUSE_CANCEL)

    exception = commands.add_parser("exception", help="exempt a server for a long time, outside the quota")
    actions = exception.add_subparsers(dest="action", required=True)
    action = _command(actions, "grant", "exempt a server", Role.OPERATOR)
    action.add_argument("--server", required=True)
    action.add_argument("--owner", required=True, help="who answers for it")
    action.set_defaults(kind=CommandKind.EXCEPTION_GRANT)
    _add_end(action)
    action = _command(actions, "revoke", "revoke an exception", Role.OPERATOR)
    action.add_argument("--server", required=True)
    action.set_defaults(kind=CommandKind.EXCEPTION_REVOKE)

    override = commands.add_parser("override", help="judge a server as another build if its stamp is wrong")
    actions = override.add_subparsers(dest="action", required=True)
    action = _command(actions, "build", "judge a server as this build", Role.OPERATOR)
    action.add_argument("--server", required=True)
    action.add_argument("--build", required=True)
    action.set_defaults(kind=CommandKind.OVERRIDE_BUILD)
    _add_end(action)


def _command(actions: Any, name: str, text: str, role: Role) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(name, help=text)
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


def _add_end(action: argparse.ArgumentParser) -> None:
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
        expires_at = given.get("expires_at")
        command = {
            "command_id": arguments.command_id or str(uuid.uuid4()),
            "tenant_id": arguments.tenant,
            "issued_at": time.time_ns() // 1_000_000,
            "issued_by": arguments.by,
            "role": arguments.role,
            "kind": kind.value,
            "expires_at": parse_day_or_moment("--expires-at", expires_at) if expires_at else None,
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
        why = f": {audit.reason}" if audit.reason else ""
        print(visible(f"{audit.kind} {audit.outcome}{why}"))
        print(f"days of pause left this year: {audit.quota_left_days}")
    return 0 if audit.outcome is CommandOutcome.ACCEPTED else EXIT_REFUSED


async def _submit(settings: Settings, command: dict[str, Any], seconds: float, is_new: bool) -> AuditRecord:
    async with command_client(settings, registry_of(settings)) as client:
        return await client.submit(command, seconds, is_new=is_new)
