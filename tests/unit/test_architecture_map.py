"""The page on architecture is true of the tree: its map has every module, and what it names exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
STREAMS = REPOSITORY / "streams"
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
MODULES = {
    path.relative_to(STREAMS).as_posix(): path
    for end in ("py", "pyx")
    for path in STREAMS.rglob(f"*.{end}")
    if path.name != "__init__.py"
}
PLACEHOLDERS = {"__init__.py", "app.py", "file.py"}


def test_the_map_describes_every_module_once() -> None:
    described = re.findall(r"^\* `([\w/]+\.pyx?)`: \S.+", PAGE.partition("## Module map")[2], re.MULTILINE)
    assert sorted(described) == sorted(MODULES)


def test_every_module_that_is_named_exists() -> None:
    named = set(re.findall(r"(?<![\w./])(?:\w+/)*\w+\.pyx?\b", PAGE)) - PLACEHOLDERS
    assert len(named) >= len(MODULES)
    assert {name for name in named if not any((root / name).is_file() for root in (STREAMS, REPOSITORY))} == set()


def test_every_folder_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:\w+/)+)`", PAGE))
    assert {name for name in named if not any((root / name).is_dir() for root in (STREAMS, REPOSITORY))} == set()


def test_every_name_of_a_module_exists_in_it() -> None:
    named = [pair for pair in re.findall(r"`([\w/]+\.pyx?): (\w+)`", PAGE) if pair[0] not in PLACEHOLDERS]
    assert named
    for module, name in named:
        defined = rf"^(?:(?:(?:async )?(?:def|class)|cpdef [^=\n]*) {name}\b|{name}\b.* = )"
        assert re.search(defined, MODULES[module].read_text(encoding="utf-8"), re.MULTILINE), f"{module}: {name}"


def test_the_layers_are_those_that_import_linter_enforces() -> None:
    linter = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = {item["containers"][0]: item["layers"] for item in linter["contracts"] if item["type"] == "layers"}
    section = PAGE.partition("## Layers")[2].partition("\n## ")[0]
    rooms = [re.split(r"  +", line)[0] for line in re.findall(r"^    (\S.*)", section, re.MULTILINE)]
    assert rooms == layers["streams"]
    of_domain = re.search(r"^\* Inside `domain`: ([^.]*)\.", section, re.MULTILINE)
    assert of_domain is not None
    shown = [" | ".join(re.findall(r"`(\w+)`", layer)) for layer in of_domain[1].split(">")]
    assert shown == layers["streams.domain"]
