"""Who gives a command."""

from __future__ import annotations

import getpass
import os


def operator() -> str:
    """The name of the user who runs this process; a user without a name, as a container may have, by his number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
