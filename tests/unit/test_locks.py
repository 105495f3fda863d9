"""The locks fit what they were made from; scripts/lock makes them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "requirements"
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
OF_INPUTS = sorted(path.stem for path in FOLDER.glob("*.in"))


def grouped(name: str) -> list[str]:
    """The requirements of a dependency group, those of the groups that it includes among them."""
    lines: list[str] = []
    for item in PYPROJECT["dependency-groups"][name]:
        lines += [item] if isinstance(item, str) else grouped(item["include-group"])
    return lines


def wanted(name: str) -> list[Requirement]:
    """What a lock is made from."""
    if name in OF_INPUTS:
        lines = (FOLDER / f"{name}.in").read_text(encoding="utf-8").splitlines()
        return [Requirement(line) for line in lines if line and not line.startswith(("#", "-c"))]
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *(line for name in ("apprise", "notify", "report", "traces") for line in extras[name]),
    ]
    return [Requirement(line) for line in [*lines, *(grouped("dev") if name == "dev" else [])]]


def locked(name: str) -> tuple[dict[str, Version], set[str]]:
    """The versions in a lock, and which of its packages are there for themselves."""
    blocks = re.split(r"^(?=[a-z0-9])", (FOLDER / f"{name}.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", block)[0]: block for block in blocks}
    direct = {
        package for (package, _), block in found.items() if re.search(r"^ .*(pyproject\.toml|-r )", block, re.MULTILINE)
    }
    return {package: Version(version) for package, version in found}, direct


def test_every_lock_has_an_input() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == sorted([*OF_INPUTS, "dev", "image"])


@pytest.mark.parametrize("name", [*OF_INPUTS, "dev", "image"])
def test_a_lock_has_what_it_is_made_from_in_versions_that_fit_and_nothing_beside(name: str) -> None:
    versions, direct = locked(name)
    requirements = {canonicalize_name(requirement.name): requirement for requirement in wanted(name)}
    assert direct == set(requirements), "scripts/lock makes it again"
    wrong = [str(item) for package, item in requirements.items() if versions[package] not in item.specifier]
    assert not wrong, "scripts/lock makes it again"


@pytest.mark.parametrize("name", [*OF_INPUTS, "dev", "image"])
def test_a_lock_names_hashes_and_no_address(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    packages = len(locked(name)[0])
    assert text.count("--hash=sha256:") >= packages > 0
    assert not re.search(r"://|--(extra-)?index-url|--find-links", text)
