"""The entry point: begins at once, so that Ctrl-C while the product is loaded ends it without a traceback."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_INTERRUPTED = 130


def _end(_: int, __: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


def run() -> None:
    """Load the command line, run one command and end with its exit code."""
    at_start = signal.getsignal(signal.SIGINT)
    is_heard = at_start is not signal.SIG_IGN  # a shell lets its background jobs ignore Ctrl-C
    if is_heard:
        signal.signal(signal.SIGINT, _end)
    from streams.cli.main import main

    signal.signal(signal.SIGINT, at_start)
    exit_code = main()
    if is_heard:  # everything is written; what is left to do is no longer worth a word
        signal.signal(signal.SIGINT, _end)
    sys.exit(exit_code)
