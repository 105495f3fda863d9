"""The wheel, installed where nothing of the repository is: every command works."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "setup.py", "build_backend.py", "compiled.txt", "README.md", "LICENSE")
MANUAL = "docs/reference/tes.1"
PACKAGES = ("streams", "schemas")
UNTIL = "2026-10-01"
FEED_LINES = 400


class Installed:
    """The product in an environment of its own, run from a folder of its own."""

    def __init__(self, folder: Path, python: Path, wheel: Path) -> None:
        self.folder, self.python, self.wheel = folder, python, wheel
        self.environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "TES_CACHE_DIR": os.environ["TES_CACHE_DIR"],
        }

    def tes(self, *words: str | Path, code: int = 0, **variables: str) -> str:
        """What a command prints."""
        return self.run(self.python.with_name("tes"), *words, code=code, **variables)

    def run(self, *command: str | Path, code: int = 0, **variables: str) -> str:
        done = subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout


def pip(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, words)], check=True)


def packages() -> Path:
    """The packages that the image has, brought once for each lock: nothing else may be needed."""
    lock = REPOSITORY / "requirements" / "image.txt"
    folder = REPOSITORY / ".cache" / "wheel" / hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    if not folder.exists():
        unfinished = folder.with_suffix(f".{os.getpid()}")
        pip("install", "--require-hashes", "--target", unfinished, "-r", lock)
        unfinished.rename(folder)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        shutil.copy(REPOSITORY / name, source)
    (source / MANUAL).parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / MANUAL, source / MANUAL)
    for name in PACKAGES:
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-index", wheel)
    (site,) = folder.glob("venv/lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{packages()}\n")
    return Installed(folder, python, wheel)


@pytest.fixture(scope="module")
def simulated(installed: Installed) -> Path:
    lines = (REPOSITORY / "examples" / "feed.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (installed.folder / "feed.jsonl").write_text("".join(lines[:FEED_LINES]), encoding="utf-8")
    installed.tes("simulate", "--feed", "feed.jsonl", "--until", UNTIL, "--out", "simulated")
    return installed.folder / "simulated"


@pytest.fixture
def kafka(installed: Installed) -> Iterator[dict[str, str]]:
    """A broker that `tes kafka` started, as settings."""
    bootstrap = installed.tes("kafka", "start").strip()
    try:
        yield {"TES_KAFKA_BOOTSTRAP": bootstrap}
    finally:
        installed.tes("kafka", "stop")


def test_a_wheel_holds_the_product_and_nothing_else(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
    others = {name for name in names if ".dist-info/" not in name and not name.startswith("streams/")}
    assert [name.partition(".data/data/")[2] for name in others] == ["share/man/man1/tes.1"]
    kept = {"py.typed", "schemas/registry.json", "schemas/verdict.avsc", "dev/pom.xml", "dev/log4j2.properties"}
    assert {f"streams/{name}" for name in kept} <= set(names)


def test_the_module_that_runs_is_the_installed_one(installed: Installed) -> None:
    place = installed.run(installed.python, "-c", "import streams; print(streams.__file__)")
    assert Path(place.strip()).is_relative_to(installed.folder / "venv")


def test_the_manual_page_is_where_man_looks_for_that_of_a_command(installed: Installed) -> None:
    page = installed.folder / "venv" / "share" / "man" / "man1" / "tes.1"
    assert page.read_bytes() == (REPOSITORY / MANUAL).read_bytes()


def test_commands_that_need_no_kafka(installed: Installed, simulated: Path) -> None:
    assert installed.tes("--version").startswith("tes ")
    assert "simulate" in installed.tes("--help")
    assert "Exchange" in installed.tes("inspect", REPOSITORY / "tests" / "deploy" / "message.eml")
    assert "BLOCKED" in installed.tes("servers", "list", "--results", simulated)
    assert "strict-critical" in installed.tes("policy", "show", "strict-critical")
    assert "builtin" in installed.tes("catalogue", "show", "builtin")
    servers = simulated / "servers.jsonl"
    assert "CHANGED" in installed.tes("whatif", "--policy", "strict-critical", "--servers", servers)
    shown = json.loads(installed.tes("config", "show", "--json"))
    assert shown["TES_STATE_DIR"] == ""
    assert installed.run(installed.python, "-m", "streams.dev.schema_check") == ""


def test_replay_decides_what_simulate_does(installed: Installed, simulated: Path) -> None:
    installed.tes("replay", "--feed", "feed.jsonl", "--until", UNTIL, "--out", "replayed")
    for file in sorted(simulated.glob("*.jsonl")):
        if file.name != "dead_letters.jsonl":
            assert (installed.folder / "replayed" / file.name).read_bytes() == file.read_bytes(), file.name


def test_commands_on_a_broker_that_it_started(installed: Installed, kafka: dict[str, Any]) -> None:
    assert "transport.connections.v1" in installed.tes("topics", "create", **kafka)
    installed.tes("config", "check", **kafka)
    assert installed.tes("dlq", "list", "--json", **kafka) == "[]\n"
    assert json.loads(installed.tes("servers", "list", "--json", **kafka)) == []
    assert installed.tes("policy", "list", **kafka)
    exported = [json.loads(line) for line in installed.tes("state", "export", **kafka).splitlines()]
    assert {row["row"] for row in exported} == {"partition"}
    installed.tes("backup", "create", "backup", **kafka)
    installed.tes("backup", "check", "backup")
    assert (installed.folder / ".local" / "state" / "tes" / "kafka-data").is_dir()
