"""How the product is built: what COMPILE may be, what an isolated build is given to compile with, and kernels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = "import build_backend, json; print(json.dumps(build_backend.get_requires_for_build_wheel()))"


BUILD = "import build_backend; build_backend.build_{}('out')"
FILES = ("pyproject.toml", "setup.py", "build_backend.py", "compiled.txt", "MANIFEST.in", "README.md", "LICENSE")
MANUAL = "docs/reference/tes.1"
MODULE = """\
def double(number: int) -> int:
    return 2 * number
"""
KERNEL = """\
from libc.stdint cimport int64_t


cpdef int64_t double(int64_t number):
    return 2 * number
"""


def made(folder: Path) -> Path:
    for name in (*FILES, MANUAL):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / "streams").mkdir()
    shutil.copytree(REPOSITORY / "schemas", folder / "schemas")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return made(tmp_path)


def with_kernel(folder: Path) -> Path:
    """A product of one module that is compiled and one kernel."""
    made(folder)
    (folder / "compiled.txt").write_text("module\n", encoding="utf-8")
    for name, text in (("__init__.py", ""), ("module.py", MODULE), ("kernel.pyx", KERNEL)):
        (folder / "streams" / name).write_text(text, encoding="utf-8")
    return folder


def build(folder: Path, kind: str, value: str) -> Path:
    """What the build backend makes: a wheel or the source."""
    (folder / "out").mkdir(exist_ok=True)
    environment = os.environ | {"COMPILE": value}
    command = [sys.executable, "-c", BUILD.format(kind)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("out/*.whl" if kind == "wheel" else "out/*.tar.gz")
    return archive


def needed(source: Path, value: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COMPILE": value}
    command = [sys.executable, "-c", NEEDED]
    return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)


def test_an_isolated_build_that_compiles_has_the_compiler_and_what_the_product_uses(source: Path) -> None:
    names = json.loads(needed(source, "1").stdout.splitlines()[-1])
    assert {"cython>=3.3,<4", "mypy>=1.13", "types-PyYAML", "aiokafka==0.14.0"} <= set(names)


@pytest.mark.parametrize("value", ["", "0"])
def test_one_that_does_not_compile_needs_none_of_it(source: Path, value: str) -> None:
    names = json.loads(needed(source, value).stdout.splitlines()[-1])
    assert not [name for name in names if "mypy" in name or "cython" in name]


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


def test_a_kernel_is_in_the_source_and_not_in_a_wheel_that_is_not_compiled(tmp_path: Path) -> None:
    folder = with_kernel(tmp_path)
    with tarfile.open(build(folder, "sdist", "0")) as archive:
        assert [name.partition("/")[2] for name in archive.getnames() if "kernel" in name] == ["streams/kernel.pyx"]
    with zipfile.ZipFile(build(folder, "wheel", "0")) as wheel:
        names = wheel.namelist()
    assert "streams/module.py" in names
    assert not [name for name in names if "kernel" in name or name.endswith(".so")]


def test_a_kernel_is_compiled_to_the_same_bytes_wherever_it_is_built(tmp_path: Path) -> None:
    kernels = []
    for name in ("here", "in/another/place"):
        with zipfile.ZipFile(build(with_kernel(tmp_path / name), "wheel", "1")) as wheel:
            compiled = {name.partition(".")[0]: name for name in wheel.namelist() if name.endswith(".so")}
            assert {"streams/kernel", "streams/module"} <= compiled.keys()
            # The source, and the C code that was made of it, stay behind.
            assert [name for name in wheel.namelist() if "kernel" in name] == [compiled["streams/kernel"]]
            kernels.append(wheel.read(compiled["streams/kernel"]))
    assert kernels[0] == kernels[1]
    assert str(tmp_path).encode() not in kernels[0]


def test_a_kernel_that_cannot_be_compiled_fails_the_build(tmp_path: Path) -> None:
    folder = with_kernel(tmp_path)
    (folder / "streams" / "kernel.pyx").write_text("cdef int64_t nothing_of_this_name\n", encoding="utf-8")
    environment = os.environ | {"COMPILE": "1"}
    command = [sys.executable, "setup.py", "--name"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "kernel.pyx:1:5: 'int64_t' is not a type identifier" in done.stderr
