"""The demo's mail, and the page that shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "how-to" / "demo.md"
BEGINNING, END = "    Mail to a real Postfix", "\n\n## "
MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\bmx\d+\.example\.com *"), "HOST "),
    (re.compile(r"(?<=queued as )\w+"), "ID"),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
)


def masked(text: str) -> list[str]:
    """Lines without what is another one in each run."""
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    return text.strip().splitlines()


@pytest.mark.timeout(300)
def test_the_demo_sends_mail_and_its_page_shows_what_it_prints(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/demo_mail.py", "--out", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = PAGE.read_text(encoding="utf-8")
    shown = text[text.index(BEGINNING) : text.index(END, text.index(BEGINNING))]
    assert masked(done.stdout) == masked(re.sub(r"(?m)^ {4}", "", shown)), done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"mail-worker.log", "mail-door.log", "mail-sync.log"}
