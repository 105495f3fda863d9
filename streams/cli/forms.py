"""JSON on stdout, in one form for every command: `--json` is one document, `--jsonl` is one object a line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

LINES_HELP = "one JSON object per line on stdout"


def add_forms(parser: argparse.ArgumentParser, document: str = "one JSON array on stdout") -> Any:
    """Add the options of a command that prints several objects; returns their group, for further forms."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help=document)
    form.add_argument("--jsonl", action="store_true", help=LINES_HELP)
    return form


def print_json(arguments: argparse.Namespace, rows: Iterable[Any]) -> bool:
    """Print rows in the JSON form that was asked for; False where none was."""
    if arguments.jsonl:
        for row in rows:
            print(json.dumps(row))
    elif arguments.json:
        print_array(map(json.dumps, rows))
    return bool(arguments.json or arguments.jsonl)


def print_array(documents: Iterable[str]) -> None:
    """Print JSON texts as one array, as they come: together they may be more than memory holds."""
    separator = "["
    for document in documents:
        print(separator, document, sep="", end="")
        separator = ", "
    print("[]" if separator == "[" else "]")
