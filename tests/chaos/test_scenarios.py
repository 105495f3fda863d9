"""The page of guarantees and the scenarios speak of the same things."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from tests.chaos.play import SCENARIOS

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "guarantees.md"


def named() -> set[str]:
    """What the tables have in backticks that looks like a scenario, with `…` for the rest of a name."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [cell for row in rows for cell in row.strip("| ").split("|")[-1:]]
    return {name for cell in cells for name in re.findall(r"`([a-z…]+(?:-[a-z…]+)*)`", cell)}


def is_meant(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern.replace("…", "*"))


def test_every_scenario_that_the_guarantees_name_exists() -> None:
    unknown = {pattern for pattern in named() if not any(is_meant(pattern, name) for name in SCENARIOS)}
    assert named()
    assert unknown == set()


def test_every_scenario_is_named_in_the_guarantees() -> None:
    unnamed = {name for name in SCENARIOS if not any(is_meant(pattern, name) for pattern in named())}
    assert unnamed == set()
