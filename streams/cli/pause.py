"""`tes pause`: stop the clock of a tenant or a server for days of the yearly quota."""

from __future__ import annotations

import argparse

from streams.cli.submission import add_command
from streams.domain.tenant.commands import CommandKind, Role


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (("create", "pause enforcement, or extend the current pause"), ("extend", "the same as create")):
        action = add_command(actions, name, text, Role.TENANT_ADMIN)
        action.add_argument("--days", type=int, required=True, help="number of 24-hour days, from now")
        action.add_argument("--server", help="only this server (default: the whole tenant)")
        action.set_defaults(kind=CommandKind.PAUSE_CREATE)
    action = add_command(actions, "cancel", "end the current pause; unused whole days are refunded", Role.TENANT_ADMIN)
    action.add_argument("--server", help="pause of this server (default: of the tenant)")
    action.set_defaults(kind=CommandKind.PAUSE_CANCEL)
