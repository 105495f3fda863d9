"""Every input that was ever found, against every promise."""

from __future__ import annotations

import pytest

from tests.fuzz.seeds import CORPUS_DIR
from tests.fuzz.targets import TARGETS


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {folder.name for folder in CORPUS_DIR.iterdir() if any(folder.iterdir())} == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_breaks_no_promise(target: str) -> None:
    for file in sorted((CORPUS_DIR / target).iterdir()):
        try:
            TARGETS[target](file.read_bytes())
        except Exception as error:
            error.add_note(f"input: {file}")
            raise
