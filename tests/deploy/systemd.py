"""The services that `deploy/systemd` has, as systemd reads them."""

from __future__ import annotations

from tests.deploy.manifests import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "systemd"
EDGE = ("tes-edge-door", "tes-edge-sync")
REPORT, NOTIFY = "tes-report", "tes-notify"
SERVICES = (*EDGE, REPORT, NOTIFY)


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
