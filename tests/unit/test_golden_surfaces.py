"""What the product shows is what it was: `python -m tests.golden` writes the files anew, for a review to judge."""

from __future__ import annotations

import pytest

from tests.golden import FOLDER
from tests.golden.files import FILES, text_of

SURFACES = ("events.json", "help.txt", "metrics.txt", "schemas.json", "settings.json", "topics.json")


@pytest.mark.parametrize("name", SURFACES)
def test_what_is_shown_is_what_was_shown(name: str) -> None:
    assert text_of(name) == (FOLDER / name).read_text(encoding="utf-8")


def test_every_golden_file_is_made() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*FILES, "day-dependent.yaml"}
