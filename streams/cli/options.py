"""The issuer of a command."""

from __future__ import annotations

import getpass
import os
from typing import Final

ISSUER_HELP: Final = "recorded as the issuer (default: current user)"
"""Of every `--by`."""


def operator() -> str:
    """The name of the user who runs this process, or `uid-N` where the user has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
