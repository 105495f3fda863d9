"""Makes the manual page from the parser of the command line.

.venv/bin/python scripts/generate_manual.py
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from unittest import mock

from argparse_manpage.manpage import Manpage

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from streams.cli.main import build_parser  # noqa: E402

PAGE = REPOSITORY / "docs" / "reference" / "tes.1"
_ENVIRONMENT = {"COLUMNS": "10000", "LOGNAME": "operator", "NO_COLOR": "1"}
"""Python's versions break a usage at other places, and the user's name is a default."""


def manual() -> str:
    """The page as roff."""
    version, day = re.findall(
        r"^## \[(\d\S*)\] - (\S+)$", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )[0]
    with mock.patch.dict(os.environ, _ENVIRONMENT):
        parser, _ = build_parser()
        examples, parser.epilog = parser.epilog or "", None
        page = Manpage(parser, format="single-commands-section")
        page.date, page.source, page.manual = day, f"tes {version}", "Transport-based enforcement"
        page.description = "judge, throttle and block mail from unpatched Exchange servers"
        header, rest = str(page).split("\n", 1)
    # Commands and options are copied from here: neither hyphens nor blanks are put into them.
    shown = f"{header}\n.nh\n.ad l\n{rest}"
    return f"{shown}.SH NOTES\n.nf\n{_literal(examples)}.fi\n"


def _literal(text: str) -> str:
    """Lines as they are: a backslash, a hyphen, and a dot or an apostrophe at the beginning mean something in roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "".join(f"\\&{line}\n" if line[:1] in (".", "'") else f"{line}\n" for line in escaped.splitlines())


if __name__ == "__main__":
    PAGE.write_text(manual(), encoding="utf-8")
