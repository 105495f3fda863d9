"""The environments of tools: one for each content of a lock, made once whoever wants it, and never left half made."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "tool_env"
INFO = "hello-1.0.dist-info"


class Tree:
    """A checkout with a lock of one package, and a python3 that counts the environments that it makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("scripts", "requirements", "bin", ".venv"):
            (folder / name).mkdir()
        shutil.copy(SCRIPT, folder / "scripts")
        wheel = folder / "hello-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("hello.py", "")
            archive.writestr(f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
            archive.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{INFO}/RECORD", f"hello.py,,\n{INFO}/METADATA,,\n{INFO}/WHEEL,,\n{INFO}/RECORD,,\n")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        self.lock = folder / "requirements" / "tools.txt"
        self.lock.write_text(f"hello @ file://{wheel} --hash=sha256:{digest}\n")
        counting = folder / "bin" / "python3"
        noted = f'[ "$1" != -m ] || echo "$@" >> "{folder}/made"'
        counting.write_text(f'#!/bin/sh\n{noted}\nexec "{sys.executable}" "$@"\n')
        counting.chmod(0o755)

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = os.environ | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "TES_CACHE_DIR": str(self.folder / "cache"),
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        command = [str(self.folder / "scripts" / "tool_env"), *words]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def made(self) -> int:
        return len((self.folder / "made").read_text().splitlines())


def folder_of(caller: subprocess.Popen[str]) -> Path:
    shown, _ = caller.communicate()
    assert caller.returncode == 0
    (line,) = shown.splitlines()
    return Path(line)


def imports(folder: Path, *modules: str) -> bool:
    done = subprocess.run([folder / "bin" / "python", "-c", f"import {', '.join(modules)}"], check=False)
    return done.returncode == 0


@pytest.mark.timeout(900)
def test_an_environment_is_made_once_and_never_left_half_made(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    callers = [tree.start("tools") for _ in range(3)]
    (folder,) = {folder_of(caller) for caller in callers}
    assert tree.made() == 1
    assert imports(folder, "hello")
    assert folder_of(tree.start("tools")) == folder
    assert tree.made() == 1
    # As a making that was cut off leaves it.
    (folder / ".made").unlink()
    shutil.rmtree(folder / "bin")
    assert folder_of(tree.start("tools")) == folder
    assert tree.made() == 2
    assert imports(folder, "hello")


@pytest.mark.timeout(900)
def test_the_product_is_there_where_it_is_wanted_and_each_lock_has_its_own(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    packages = tmp_path / ".venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "product.py").touch()
    (tmp_path / ".venv" / ".stamp").write_text("1\n")
    with_product = folder_of(tree.start("tools", "--with-product"))
    assert imports(with_product, "hello", "product")
    tree.lock.write_text(f"{tree.lock.read_text()}# another\n")
    without = folder_of(tree.start("tools"))
    assert without != with_product
    assert imports(without, "hello")
    assert not imports(without, "product")


@pytest.mark.timeout(900)
def test_a_lock_that_cannot_be_had_is_no_environment(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.lock.write_text(tree.lock.read_text().replace("--hash=sha256:", "--hash=sha256:0"))
    caller = tree.start("tools")
    shown, _ = caller.communicate()
    assert (caller.returncode == 0, shown) == (False, "")
    assert list(tmp_path.glob("cache/tools/*/.made")) == []
