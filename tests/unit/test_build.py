"""How the product is built: what COMPILE may be, and what an isolated build is given to compile with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = "import build_backend, json; print(json.dumps(build_backend.get_requires_for_build_wheel()))"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "setup.py", "build_backend.py", "compiled.txt", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "streams").mkdir()
    shutil.copytree(REPOSITORY / "schemas", tmp_path / "schemas")
    return tmp_path


def needed(source: Path, value: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COMPILE": value}
    command = [sys.executable, "-c", NEEDED]
    return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)


def test_an_isolated_build_that_compiles_has_the_compiler_and_what_the_product_uses(source: Path) -> None:
    names = json.loads(needed(source, "1").stdout.splitlines()[-1])
    assert {"mypy>=1.13", "types-PyYAML", "aiokafka==0.14.0"} <= set(names)


@pytest.mark.parametrize("value", ["", "0"])
def test_one_that_does_not_compile_needs_none_of_it(source: Path, value: str) -> None:
    assert not [name for name in json.loads(needed(source, value).stdout.splitlines()[-1]) if "mypy" in name]


def test_another_value_is_refused(source: Path) -> None:
    command = [sys.executable, "setup.py", "--name"]
    environment = os.environ | {"COMPILE": "yes"}
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "COMPILE: 'yes': must be 0 or 1" in done.stderr


def test_a_pattern_without_a_module_is_refused(source: Path) -> None:
    command = [sys.executable, "setup.py", "--name"]
    environment = os.environ | {"COMPILE": "1"}
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "compiled.txt: no module in streams is domain/**/*" in done.stderr
