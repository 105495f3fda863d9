"""Messages for people, on standard error."""

from __future__ import annotations

import sys

from streams.visible import visible


def print_message(text: str) -> None:
    """Say something in one line; it may quote any text."""
    print(visible(text), file=sys.stderr, flush=True)


def print_error(command: str, error: Exception) -> None:
    """Say what is wrong, a line for each of an error's `errors` where it has several."""
    for line in getattr(error, "errors", None) or [str(error)]:
        print_message(f"{command}: {line}")
