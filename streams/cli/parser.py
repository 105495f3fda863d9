"""The parser of the command line: its errors say what was probably meant, and hold nothing that a terminal obeys."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from streams.visible import visible

_LONGEST_GUESS = 100
"""Characters of a word for which a likely spelling is looked for."""


def likely(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, whatever its case; None where none is close."""
    by_name = {name.casefold(): name for name in known}
    if len(word) > _LONGEST_GUESS:
        return None
    found = get_close_matches(word.casefold(), by_name, 1)
    return by_name[found[0]] if found else None


class Parser(argparse.ArgumentParser):
    """Quotes wrong arguments visibly, and suggests what is spelt almost the same; its actions do so too."""

    add_details: Callable[[argparse.ArgumentParser], None] | None = None
    """Adds the arguments when they are looked at: the module of a command may take a second to be imported."""

    def describe(self) -> None:
        """Add the arguments, once."""
        add, self.add_details = self.add_details, None
        if add is not None:
            add(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See `argparse.ArgumentParser`."""
        self.describe()
        args = sys.argv[1:] if args is None else args
        self._refuse_unknown_options(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`."""
        super().error(visible(message))

    def _refuse_unknown_options(self, words: Sequence[str]) -> None:
        """Name unknown options first: what argparse says before is that a required one is missing."""
        names = self._option_string_actions
        unknown = []
        for word in words:
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                break  # values, or the words of an action, which has a parser of its own
            name = word.partition("=")[0]
            if not word.startswith("--") or " " in word or any(known.startswith(name) for known in names):
                continue
            meant = likely(name, names)
            unknown.append(f"{word} (did you mean {meant}?)" if meant else word)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """See `argparse.ArgumentParser`; that of Python 3.14 suggests too, in other words."""
        if action.choices is None or value in action.choices:
            return
        names = list(map(str, action.choices))
        meant = likely(str(value), names)
        said = f", did you mean {meant!r}?" if meant else f" (choose from {', '.join(map(repr, names))})"
        raise argparse.ArgumentError(action, f"invalid choice: {value!r}{said}")
