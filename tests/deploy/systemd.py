"""The services that `deploy/systemd` has, as systemd reads them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.deploy.manifests import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "systemd"
EDGE = ("tes-edge-door", "tes-edge-sync")
REPORT, NOTIFY, WORKER = "tes-report", "tes-notify", "tes-worker"
SERVICES = (*EDGE, REPORT, NOTIFY, WORKER)


def unit(name: str) -> list[tuple[str, str, str]]:
    """The settings of a service in their order: section, name and value."""
    found: list[tuple[str, str, str]] = []
    section = ""
    for line in (FOLDER / f"{name}.service").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.append((section, key, value))
    return found


def values(name: str, key: str) -> list[str]:
    """Every value of a setting of a service."""
    return [value for _, found, value in unit(name) if found == key]


def environment_file(name: str) -> dict[str, str]:
    """The variables of a file of settings."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def systemds_environment() -> dict[str, str]:
    """This process's environment with systemd's programs on its path: where it is not installed, Debian's package's."""
    environment = dict(os.environ)
    if shutil.which("systemd-analyze") is None:
        root = _unpacked("systemd")
        programs = (root / "usr" / "bin", root / "bin")
        environment["PATH"] = ":".join((*map(str, programs), environment["PATH"]))
        libraries = {str(path.parent) for path in root.rglob("*.so*")}
        libraries |= {str(path.parent) for path in _unpacked("libsystemd-shared").rglob("*.so*")}
        environment["LD_LIBRARY_PATH"] = ":".join(sorted(libraries))
    return environment


def _unpacked(package: str) -> Path:
    command = [str(REPOSITORY / "scripts" / "debian_package"), package]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return REPOSITORY / done.stdout.strip()
