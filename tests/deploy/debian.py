"""Tries a Debian package by dpkg in a root of its own: installed, used as its user, upgraded, removed, purged.

The root has a database of packages and users of its own, so that nothing of this machine changes. Programs of the
package see its folders in the place of this machine's, in a mount namespace. This needs root.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from tests.deploy.image import COMPILED, ImageError, check_worker_life, expect
from tests.deploy.systemd import environment_file, systemds_environment

# `$0` is the root of the package. The mounts end with the shell.
_ENTER = """\
set -e
mount --make-rprivate /
mount --bind "$0/opt" /opt
cd /
exec "$@"
"""
USERS = ("tes", "tes-edge", "tes-report")
_SYSTEMS_OWN = re.compile(
    r"(?:var/lib/dpkg|tmp|etc/(?:passwd|group|shadow|gshadow|subuid|subgid)-?|etc/\.pwd\.lock)(?:/|$)"
)
"""The databases of packages and users."""


class System:
    """A root that packages are installed into, with a folder of users and a database of packages of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("etc", "opt", "var/lib/dpkg/info", "var/lib/dpkg/updates", "tmp"):
            (root / name).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        found = systemds_environment()
        self.environment = found | {"PATH": f"{found['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C"}

    def dpkg(self, *words: str | Path) -> str:
        """Run dpkg on this root; gives what it printed.

        Raises:
            ImageError: it failed.
        """
        # The scripts run outside of the root, which has no shell; what the package depends on is this machine's.
        forced = ("--force-script-chrootless", "--force-depends", "--force-confold", "--path-include=/*")
        command = ["dpkg", f"--root={self.root}", "--log=/dev/null", *forced, *map(str, words)]
        return self._printed_by(command, words)

    def systemctl(self, *words: str) -> str:
        """Run systemctl on the files of this root."""
        return self._printed_by(["systemctl", f"--root={self.root}", "--quiet", *words], words)

    def ids(self, user: str) -> tuple[int, int]:
        """User and group id of a user of this root."""
        lines = (self.root / "etc/passwd").read_text("utf-8").splitlines()
        (found,) = [line.split(":") for line in lines if line.startswith(f"{user}:")]
        return int(found[2]), int(found[3])

    def users(self) -> set[str]:
        """The users and groups of this root."""
        texts = [(self.root / "etc" / name).read_text("utf-8") for name in ("passwd", "group")]
        return {line.partition(":")[0] for text in texts for line in text.splitlines()}

    def files(self) -> set[str]:
        """Every file of this root, and every folder with `tes` in its path, but the databases of packages and users."""
        paths = [
            path for path in self.root.rglob("*") if not path.is_dir() or "tes" in str(path.relative_to(self.root))
        ]
        found = {str(path.relative_to(self.root)) for path in paths}
        return {name for name in found if not _SYSTEMS_OWN.match(name)}

    def command(self, *words: str | Path, user: str = "") -> list[str]:
        """The command line of a program that finds the package in its place."""
        as_user: list[str] = []
        if user:
            uid, gid = self.ids(user)
            as_user = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]
        isolation = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        return [*isolation, "sh", "-c", _ENTER, str(self.root), *as_user, *map(str, words)]

    def run(self, *words: str | Path, user: str = "") -> str:
        """Run a program to its end; gives what it printed.

        Raises:
            ImageError: it failed.
        """
        return self._printed_by(self.command(*words, user=user), words)

    def _printed_by(self, command: Sequence[str], words: Sequence[str | Path]) -> str:
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ImageError(f"{' '.join(map(str, words))}: exit code {done.returncode}:\n{done.stdout}")
        return done.stdout


def check_installed(system: System) -> None:
    """What is installed has its users and modes, and runs nothing."""
    expect(system.dpkg("--verify", "tes") == "", "every file is as it was packed")
    expect(set(USERS) <= system.users(), "the users are there")
    for name, user, mode in (
        *(("worker.env", "tes", 0o640), ("kafka.env", "tes-edge", 0o640), ("report.env", "tes-report", 0o640)),
        *(("notify.env", "tes-report", 0o640), ("worker", "tes", 0o750), ("kafka", "tes-edge", 0o750)),
        *(("report", "tes-report", 0o750), ("notify", "tes-report", 0o750)),
    ):
        found = (system.root / "etc/tes" / name).stat()
        is_so = (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, system.ids(user)[1], mode)
        expect(is_so, f"/etc/tes/{name} is root's, of group {user}, {mode:o}")
    expect(not (system.root / "etc/systemd").exists(), "no service is enabled")


def check_life(system: System, package: Path) -> None:
    """Upgraded over itself it keeps what was changed; removed it leaves settings and states, and purged nothing."""
    before = system.files()
    settings = system.root / "etc/tes/edge.env"
    changed = settings.read_text("utf-8").replace("TES_EDGE_MODE=report", "TES_EDGE_MODE=enforce")
    settings.write_text(changed, encoding="utf-8")
    secret = system.root / "etc/tes/worker/password"
    secret.write_text("secret\n", encoding="utf-8")
    # An administrator may let others read; an upgrade leaves it so.
    (system.root / "etc/tes/worker.env").chmod(0o644)
    units = [f"{name}.service" for name in ("tes-worker", "tes-edge-door")]
    system.systemctl("enable", *units)
    system.dpkg("--install", package)
    expect("TES_EDGE_MODE=enforce" in settings.read_text("utf-8"), "an upgrade keeps settings that were changed")
    expect((system.root / "etc/tes/worker.env").stat().st_mode & 0o777 == 0o644, "and their modes")
    added = {name for name in system.files() - before if not name.startswith("etc/systemd")}
    expect(added == {"etc/tes/worker/password"}, "and leaves no file of the version before")
    state = system.root / "var/lib/tes/state"
    state.parent.mkdir(parents=True)
    state.write_text("state\n", encoding="utf-8")
    system.dpkg("--remove", "tes")
    left = system.files()
    expect(not {name for name in left if name.startswith(("opt/", "usr/lib/systemd"))}, "a removal takes the programs")
    expect(not list(system.root.glob("etc/systemd/**/*.service")), "and what enabled the services")
    expect(
        {"etc/tes/edge.env", "etc/tes/worker/password", "var/lib/tes/state"} <= left, "and leaves settings and states"
    )
    system.dpkg("--install", package)
    expect("TES_EDGE_MODE=enforce" in settings.read_text("utf-8"), "installed again it has them")
    # The empty folder of secrets went with the programs.
    given = (system.root / "etc/tes/kafka").stat().st_gid == system.ids("tes-edge")[1]
    expect(given, "and its users can read their secrets")
    system.dpkg("--purge", "tes")
    expect(system.files() == set(), "a purge leaves no file")
    expect(not set(USERS) & system.users(), "and no user")


def check_refusal(folder: Path, package: Path) -> None:
    """An environment that was made by hand is not mixed with the package's."""
    system = System(folder)
    (folder / "opt/tes/bin").mkdir(parents=True)
    try:
        system.dpkg("--install", package)
    except ImageError as error:
        expect("move it away first" in str(error), "an /opt/tes that was made by hand is refused")
    else:
        raise ImageError("not so: an /opt/tes that was made by hand is refused")
    expect(not (folder / "opt/tes/pyvenv.cfg").exists(), "and nothing is put into it")


def check_use(system: System) -> None:
    """The command, its compiled modules, and the services as systemd reads them."""
    version = system.dpkg("--status", "tes").partition("Version: ")[2].partition("\n")[0]
    expect(
        system.run("/opt/tes/bin/tes", "--version", user="tes").strip() == f"tes {version.replace('~', '')}",
        f"it is tes {version}",
    )
    expect((system.root / "usr/bin/tes").readlink() == Path("/opt/tes/bin/tes"), "and /usr/bin/tes leads there")
    names = ", ".join(COMPILED)
    code = f"import sys, {names}; print(*(sys.modules[name].__file__ for name in sys.argv[1:]), sep='\\n')"
    shown = system.run("/opt/tes/bin/python", "-I", "-c", code, *COMPILED, user="tes").splitlines()
    all_of_them = all(file.startswith("/opt/tes/lib/") and file.endswith(".so") for file in shown)
    expect(all_of_them and len(shown) == len(COMPILED), "its modules are compiled")
    units = sorted((system.root / "usr/lib/systemd/system").glob("tes-*.service"))
    expect(
        len(units) == 5 and system.run("systemd-analyze", "verify", "--man=no", *units) == "", "systemd takes its units"
    )


def check_worker(system: System, scratch: Path) -> None:
    """A worker with the package's settings against a real Kafka becomes ready, and ends well on SIGTERM."""
    settings = environment_file("worker.env")
    state = scratch / "state"
    state.mkdir()
    os.chown(state, *system.ids("tes"))
    with EmbeddedKafka(scratch / "kafka", jars_dir=ensure_jars()) as kafka:
        own = {
            "TES_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "TES_REPLICATION": "1",
            "TES_PARTITIONS": "2",
            "TES_WEB_PORT": "0",
        }
        kept = {
            name: value for name, value in settings.items() if "KAFKA" not in name and name != "TES_ALLOW_PLAINTEXT"
        }
        variables = [f"{name}={value}" for name, value in {**kept, **own, "TES_STATE_DIR": str(state)}.items()]
        tes = ("env", "-i", "HOME=/var/lib/tes", *variables, "/opt/tes/bin/tes")
        system.run(*tes, "topics", "create", user="tes")
        command = system.command(*tes, "worker", user="tes")
        check_worker_life(command, scratch / "worker.log", "its worker becomes ready on a real Kafka, and ends well")


def main() -> int:
    """Try a package; exit code 0, or 1 with what it does not do."""
    parser = argparse.ArgumentParser(prog="tests.deploy.debian", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("package", type=Path, help="the package")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        # The package's users have to reach what lies in here.
        scratch.chmod(0o755)
        try:
            system = System(scratch / "root")
            system.dpkg("--install", arguments.package)
            check_installed(system)
            check_use(system)
            check_worker(system, scratch)
            check_life(system, arguments.package)
            check_refusal(scratch / "other", arguments.package)
        except (ImageError, OSError, subprocess.SubprocessError) as error:
            print(f"scripts/deb: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
