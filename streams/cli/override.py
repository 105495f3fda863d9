"""`tes override`: judge a server as another build."""

from __future__ import annotations

import argparse

from streams.cli.submission import add_command, add_end
from streams.domain.tenant.commands import CommandKind, Role


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    action = add_command(actions, "set", "judge a server as this build", Role.OPERATOR, ["build"])
    action.add_argument("--server", required=True)
    action.add_argument("--build", required=True)
    action.set_defaults(kind=CommandKind.OVERRIDE_BUILD)
    add_end(action)
