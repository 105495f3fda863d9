"""What several commands share: the issuer, and the exit code of a refusal."""

from __future__ import annotations

import getpass
import os
from typing import Final

EXIT_REFUSED: Final = 3
"""Exit code of a command that was refused."""
ISSUER_HELP: Final = "recorded as the issuer (default: current user)"
"""Of every `--by`."""


def operator() -> str:
    """The name of the user who runs this process, or `uid-N` where the user has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
