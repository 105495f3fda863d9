"""The Debian package: what it brings for each service, and its life by dpkg with an empty program.

`scripts/deb --check` does the same with the whole product, and uses it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.debian import System, check_installed, check_life, check_refusal
from tests.deploy.manifests import REPOSITORY
from tests.deploy.systemd import FOLDER, SERVICES, environment_file, values

sys.path.insert(0, str(REPOSITORY / "scripts"))

from build_deb import (
    HOME,
    MAINTAINING,
    PACKAGING,
    PLAIN,
    SECRETS,
    add_control,
    add_system_files,
    debian_version,
    pack,
    settle,
    traces_of,
)

AT = 1_790_000_000
POSTINST = (REPOSITORY / PACKAGING / "postinst").read_text(encoding="utf-8")
GIVEN = {name: user for user, *names in re.findall(r"give (\S+) (.+)", POSTINST) for name in names[0].split()}
"""What is given to which group, by its name below /etc/tes."""


def packed(folder: Path) -> Path:
    """The package with a program that does nothing."""
    root = folder / "root"
    program = root / HOME / "bin" / "tes"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    (root / HOME / "pyvenv.cfg").touch()
    add_system_files(root, REPOSITORY, AT)
    add_control(root, REPOSITORY, "1.2.3")
    settle(root, AT)
    package = folder / "tes.deb"
    pack(root, package, AT)
    return package


def test_each_service_is_in_it_with_its_settings_its_user_and_its_secrets(tmp_path: Path) -> None:
    packed(tmp_path)
    root = tmp_path / "root"
    units = {path.stem for path in (root / "usr/lib/systemd/system").iterdir()}
    assert units == set(SERVICES)
    settings = (root / "DEBIAN/conffiles").read_text("utf-8").splitlines()
    users = re.findall(r"^u (\S+)", (root / "usr/lib/sysusers.d/tes.conf").read_text("utf-8"), re.MULTILINE)
    for name in SERVICES:
        (user,) = values(name, "User")
        assert user in users
        for path in values(name, "EnvironmentFile"):
            assert path in settings
            file = Path(path).name
            assert file in PLAIN or GIVEN[file] == user
            for variable, value in environment_file(file).items():
                if variable.endswith("_FILE"):
                    assert GIVEN[Path(value).parent.name] == user, variable
    assert set(SECRETS) < GIVEN.keys()
    assert {Path(path).name for path in settings} == {
        path.name for path in FOLDER.iterdir() if path.suffix != ".service"
    }


def test_the_maintaining_scripts_know_every_service_and_user(tmp_path: Path) -> None:
    packed(tmp_path)
    texts = {name: (tmp_path / "root/DEBIAN" / name).read_text("utf-8") for name in MAINTAINING}
    for name, text in texts.items():
        subprocess.run(["sh", "-n", "-c", text], check=True)
        assert text.startswith("#!/bin/sh\n"), name
    for service in SERVICES:
        assert re.search(rf"\b{service}\b", texts["postinst"])
        assert re.search(rf"\b{service}\b", texts["prerm"])
    users = {user for name in SERVICES for user in values(name, "User")}
    (purged,) = re.findall(r"for user in (.+); do", texts["postrm"])
    assert set(purged.split()) == users


def test_it_is_the_same_bytes_whenever_it_is_packed(tmp_path: Path) -> None:
    packages = []
    # As if somebody else had made it, who lets nobody read.
    for name, mask in (("one", 0o022), ("two", 0o077)):
        (tmp_path / name).mkdir()
        before = os.umask(mask)
        try:
            packages.append(packed(tmp_path / name))
        finally:
            os.umask(before)
    one, two = (path.read_bytes() for path in packages)
    assert one == two
    (tmp_path / "two/root/usr/share/doc/tes/copyright").write_text("another\n", encoding="utf-8")
    settle(tmp_path / "two/root", AT)
    pack(tmp_path / "two/root", packages[1], AT)
    assert packages[1].read_bytes() != one


def test_its_fields_are_filled_in(tmp_path: Path) -> None:
    shown = subprocess.run(["dpkg-deb", "--field", packed(tmp_path)], capture_output=True, text=True, check=True).stdout
    fields = dict(re.findall(r"^(\S+): (.+)$", shown, re.MULTILINE))
    assert fields["Version"] == "1.2.3"
    assert not re.search(r"VERSION|ARCHITECTURE|SIZE|PYTHON|NEXT", shown)
    assert int(fields["Installed-Size"]) > 0


@pytest.mark.parametrize(
    ("version", "debian"),
    [
        ("0.3.0", "0.3.0"),
        ("1.0rc1", "1.0~rc1"),
        ("1.0.dev3", "1.0~dev3"),
        ("1.0b2", "1.0~b2"),
        ("1.0.post1", "1.0.post1"),
    ],
)
def test_what_comes_before_a_release_sorts_before_it(version: str, debian: str) -> None:
    assert debian_version(version) == debian
    if "~" in debian:
        subprocess.run(["dpkg", "--compare-versions", debian, "lt", debian.partition("~")[0]], check=True)


def test_a_file_that_names_a_folder_of_the_builder_is_found(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"\0" + str(tmp_path).encode() + b"/lib\0")
    (tmp_path / "two").write_bytes(b"/opt/tes/lib")
    assert traces_of(tmp_path, [tmp_path]) == ["one"]


@pytest.mark.mail  # as root, like what that stage runs
def test_it_is_installed_upgraded_removed_and_purged(tmp_path: Path) -> None:
    package = packed(tmp_path)
    system = System(tmp_path / "system")
    system.dpkg("--install", package)
    check_installed(system)
    check_life(system, package)
    check_refusal(tmp_path / "other", package)
