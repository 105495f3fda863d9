"""`tes completion`: the script by which a shell completes commands, options and values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any, Final

SHELLS: Final = ("bash", "zsh", "fish")
_FILE = re.compile(r"\bFILE\b|^file$")
_FOLDER = re.compile(r"\b(?:DIR|FOLDER)\b")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.description = "Print the script by which a shell completes commands, options and values of `tes`."
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """to use it:
  bash  tes completion bash > ~/.local/share/bash-completion/completions/tes
  zsh   tes completion zsh > "${fpath[1]}/_tes"
  fish  tes completion fish > ~/.config/fish/completions/tes.fish"""
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script; exit code 0."""
    print(script_of(arguments.shell), end="")
    return 0


def script_of(shell: str) -> str:
    """The script of one of `SHELLS`."""
    import shtab

    from streams.cli.main import build_parser

    parser, _ = build_parser()
    for action in _actions(parser):
        # What a value is stands in its name in the help.
        name = action.metavar if isinstance(action.metavar, str) else action.dest
        if action.choices is None and _FILE.search(name):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.choices is None and _FOLDER.search(name):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    script: str = shtab.complete(parser, shell=shell)
    return script


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to walk a parser
        yield action
        choices: Any = action.choices
        for inner in dict.fromkeys(choices.values()) if isinstance(choices, dict) else ():
            yield from _actions(inner)
