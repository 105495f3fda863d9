"""The page on threats names tests and settings that exist."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from streams.settings.worker import Settings

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "concepts" / "threat-model.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+/test_\w+\.py): (test_\w+)`", PAGE)
    assert len(named) > 20
    assert [(file, name) for file, name in named if f"def {name}(" not in (TESTS / file).read_text()] == []


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"TES_[A-Z_]+", PAGE))
    assert named
    assert named <= {item.metadata["variable"] for item in fields(Settings)}
