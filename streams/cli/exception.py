"""`tes exception`: exempt a server for a long time."""

from __future__ import annotations

import argparse

from streams.cli.submission import add_command, add_end
from streams.domain.tenant.commands import CommandKind, Role


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    action = add_command(actions, "grant", "exempt a server", Role.OPERATOR)
    action.add_argument("--server", required=True)
    action.add_argument("--owner", required=True, help="who answers for it")
    action.set_defaults(kind=CommandKind.EXCEPTION_GRANT)
    add_end(action)
    action = add_command(actions, "revoke", "revoke an exception", Role.OPERATOR)
    action.add_argument("--server", required=True)
    action.set_defaults(kind=CommandKind.EXCEPTION_REVOKE)
