"""Checks the documents: every relative link has its file, and every `tes` command that they show exists."""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from streams.cli.main import build_parser  # noqa: E402

_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
_COMMAND = re.compile(r"(?:^|`|\$ |&& |bin/)tes ([a-z]+)\b", re.MULTILINE)


def errors_of(path: Path, commands: set[str]) -> list[str]:
    """What is wrong with one document."""
    text = path.read_text(encoding="utf-8")
    shown = path.relative_to(REPOSITORY)
    dead = [f"{shown}: no file {link}" for link in _LINK.findall(text) if not (path.parent / link).exists()]
    return dead + [f"{shown}: no command tes {name}" for name in _COMMAND.findall(text) if name not in commands]


def main() -> int:
    """Check every document; exit code 1 with one error a line."""
    _, commands = build_parser()
    documents = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "schemas").glob("*.md")]
    errors = [error for path in sorted(documents) for error in errors_of(path, commands)]
    print("\n".join(errors), file=sys.stderr, end="\n" if errors else "")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
