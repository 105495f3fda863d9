"""Where `rich` draws: a console on a terminal, and none anywhere else.

What is drawn passes through the stream of the command, which leaves nothing of a text that a terminal obeys but what
draws. Texts of records are made visible before, by `plain`: the width of what is shown is then known too.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from streams.cli.terminal import VisibleStream
from streams.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class _Drawing:
    """The file of a console, on a stream of a command."""

    def __init__(self, stream: VisibleStream) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write_drawn(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def console_on(stream: Any) -> Console | None:
    """A console on standard output or standard error of a command; None where that is no terminal."""
    if not isinstance(stream, VisibleStream) or not stream.isatty():
        return None
    from rich.console import Console

    # NO_COLOR and TERM are looked at by rich itself.
    file: Any = _Drawing(stream)
    return Console(file=file, force_terminal=True, highlight=False, markup=False, emoji=False)


def plain_console(stream: Any, width: int = 100) -> Console:
    """A console on what is no terminal: lines of text, without colours."""
    from rich.console import Console

    return Console(file=stream, force_terminal=False, color_system=None, width=width, highlight=False, markup=False)


def output_console() -> Console | None:
    """A console on standard output; None where that is no terminal."""
    return console_on(sys.stdout)


def message_console() -> Console | None:
    """A console on standard error; None where that is no terminal."""
    return console_on(sys.stderr)


def plain(text: str, style: str = "") -> Text:
    """A text of anybody, to be drawn: in one line, and with nothing in it that a terminal obeys."""
    from rich.text import Text

    return Text(visible(text), style)
