"""What `--help` says of every command, in the order in which the commands are listed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from streams.cli.main import build_parser

ENVIRONMENT = {"COLUMNS": "120", "LOGNAME": "operator", "NO_COLOR": "1"}
"""What decides about a help text from outside: the width, and the user's name, which is a default."""


def helps() -> str:
    """The help of `tes` and of all its commands and their actions."""
    with _environment():
        return "\n".join(f"$ {parser.prog} --help\n{_shown(parser)}" for parser in _parsers(build_parser()[0]))


@contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _parsers(inner)


def _shown(parser: argparse.ArgumentParser) -> str:
    """The help with its usage as one line: Python's versions break it at other places."""
    usage, rest = parser.format_help().split("\n\n", 1)
    return " ".join(usage.split()) + "\n\n" + rest
