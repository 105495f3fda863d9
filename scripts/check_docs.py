"""Checks the documents: every relative link has its file and heading, and every `tes` command that they show parses."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from streams.cli.main import build_parser  # noqa: E402

FOLDERS = ("docs", "schemas", "streams", "examples", "benchmarks", "deploy", "tests")

_LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_BLOCK_LINE = re.compile(r"^    +(?:\$ )?(.+)$", re.MULTILINE)
_COMMAND = re.compile(r"(?:^|(?<= -- ))(?:[A-Z_]+=\S* )*(?:\S*/)?tes(?: +(\S.*))?$")
_INLINE = re.compile(r"`(?:\.venv/bin/)?tes ([a-z][^`]*)`")


def dead_links(path: Path, text: str) -> Iterator[str]:
    """The relative links whose file or heading does not exist."""
    for link, heading in _LINK.findall(text):
        target = path.parent / link if link else path
        if not target.exists():
            yield f"no file {link}"
        elif heading and heading not in _anchors(target):
            yield f"no heading {heading} in {target.name}"


def _anchors(page: Path) -> set[str]:
    """The names by which links find the headings of a page."""
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def wrong_commands(parser: argparse.ArgumentParser, text: str) -> Iterator[str]:
    """The `tes` commands that the parser refuses; those within a sentence may lack their required options."""
    for arguments in _commands_of_blocks(text):
        if why := _refusal(parser, arguments):
            yield f"tes {shlex.join(arguments)}: {why}"
    for shown in _INLINE.findall(text):
        words = [word for word in shown.replace("…", "").split() if not re.search(r"[|\[<]", word)]
        why = _refusal(parser, words)
        if why and "required" not in why and "expected" not in why:
            yield f"tes {shown}: {why}"


def _commands_of_blocks(text: str) -> Iterator[list[str]]:
    for line in _BLOCK_LINE.findall(text.replace("\\\n", " ")):
        command = re.sub(r'"\$\(date [^)]*\)"', "2030-01-01", re.sub(r"\s#.*", "", line))
        for part in re.split(r"&&|\|\||[|;]| \d?> *\S+", command):
            if found := _COMMAND.search(part.strip()):
                yield shlex.split(found[1] or "")


def _refusal(parser: argparse.ArgumentParser, arguments: list[str]) -> str | None:
    messages = io.StringIO()
    with contextlib.redirect_stderr(messages), contextlib.redirect_stdout(io.StringIO()):
        try:
            parser.parse_args(arguments)
        except SystemExit as end:
            return messages.getvalue().strip().splitlines()[-1] if end.code else None
    return None


def documents() -> list[Path]:
    """Every document of the repository."""
    below = (path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.md"))
    return sorted({*REPOSITORY.glob("*.md"), *below})


def main() -> int:
    """Check every document; exit code 1 with one error a line."""
    parser, _ = build_parser()
    errors: list[str] = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        errors += [f"{path.relative_to(REPOSITORY)}: {error}" for error in dead_links(path, text)]
        errors += [f"{path.relative_to(REPOSITORY)}: {error}" for error in wrong_commands(parser, text)]
    print("\n".join(errors), file=sys.stderr, end="\n" if errors else "")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
