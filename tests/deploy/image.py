"""Runs an image's entry point as a kubelet would: its user, its environment, a read-only root, no capabilities.

The mounted image becomes the root of a mount and process namespace of its own. This needs root and Linux, but neither a
daemon nor a registry.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from streams.cli.simulate import read_connection
from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.domain.policy.rulebook import Rulebook
from streams.kafka.topics import TOPICS
from streams.operations.feeds import collect, produce_feed
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import simulate
from streams.settings.worker import Settings
from streams.wire.records import parse_moment, to_record
from tests.chaos.worker import READY
from tests.deploy.manifests import REPOSITORY
from tests.support.compiled_tests import kernels

READY_SECONDS = 120.0
MESSAGE = (REPOSITORY / "tests" / "deploy" / "message.eml").read_bytes()
COMPILERS = ("cc", "gcc", "c++", "g++", "clang", "ld", "as", "make", "cargo", "rustc", "go")
SBOM = "opt/tes/sbom.cdx.json"
COMPILED = (
    "streams.domain.server.decide",
    "streams.wire.fast_connection",
    "streams.state.server_row",
    "streams.worker.processor",
    "streams.engine.partition.view",
    *kernels(),
)
"""A module of each folder that is compiled, and the kernels; `setup.py` has them all."""
FEED = REPOSITORY / "examples" / "feed.jsonl"
FEED_LINES = 2000
UNTIL = "2026-10-01T00:00:00.000Z"

# `$0` is the image's root. Everything ends with the shell: mounts and processes are in namespaces of their own.
_ENTER = """\
set -e
mount --make-rprivate /
mount --bind "$0" "$0"
mount -o remount,bind,ro,nosuid,nodev "$0"
mount -t proc proc "$0/proc"
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$0/tmp"
mount -t tmpfs -o size=256m,mode=0770,uid={uid},gid={gid} tmpfs "$0{state}"
mount --bind /dev "$0/dev"
exec chroot "$0" /usr/bin/setpriv --reuid={uid} --regid={gid} --clear-groups --no-new-privs --inh-caps=-all \\
  --bounding-set=-all -- /usr/bin/env -i -C {state} {environment} "$@"
"""


class ImageError(RuntimeError):
    """The image does not do what it must; the message says what it did."""


class Image:
    """A mounted image with its configuration."""

    def __init__(self, root: Path, config: dict[str, Any]) -> None:
        self.root = root
        self.entry_point: list[str] = config["Entrypoint"]
        self.user: str = config["User"]
        self.environment: list[str] = config["Env"]
        self.state = next(item for item in self.environment if item.startswith("TES_STATE_DIR=")).partition("=")[2]

    def command(self, arguments: list[str], **settings: str) -> list[str]:
        """The command line that runs `arguments` inside."""
        uid, _, gid = self.user.partition(":")
        environment = [*self.environment, *(f"{name}={value}" for name, value in settings.items())]
        script = _ENTER.format(uid=uid, gid=gid, state=self.state, environment=shlex.join(environment))
        isolation = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc"]
        return [*isolation, "sh", "-c", script, str(self.root), *arguments]

    def run(self, *arguments: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
        """Run something inside to its end."""
        command = self.command(list(arguments), **settings)
        return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=300)

    def tes(self, *arguments: str, stdin: bytes = b"", **settings: str) -> str:
        """Run the entry point; gives what it wrote.

        Raises:
            ImageError: it failed.
        """
        done = self.run(*self.entry_point, *arguments, stdin=stdin, **settings)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace")[-2000:]
            raise ImageError(f"tes {' '.join(arguments)}: exit code {done.returncode}:\n{said}")
        return done.stdout.decode()


def expect(fact: bool, what: str) -> None:
    """Tell that something holds, or raise."""
    if not fact:
        raise ImageError(f"not so: {what}")
    print(f"  {what}")


def check_confinement(image: Image) -> None:
    """The user, the root file system, what is not in it."""
    uid = image.run("id", "-u").stdout.decode().strip()
    expect(uid == image.user.partition(":")[0] and int(uid) > 0, f"the user is {uid}")
    for path in ("/probe", "/opt/tes/probe", "/etc/probe", "/var/probe"):
        expect(b"Read-only file system" in image.run("touch", path).stderr, f"{path}: the file system is read-only")
    for path in (f"{image.state}/probe", "/tmp/probe"):
        expect(image.run("touch", path).returncode == 0, f"{path} can be written")
    found = [
        name
        for name in COMPILERS
        for folder in ("bin", "usr/bin", "usr/local/bin", "opt/tes/bin")
        if (image.root / folder / name).exists()
    ]
    expect(not found, "no compiler is in it")
    expect(not list((image.root / "opt/tes/bin").glob("pip*")), "no installer is in the product's environment")


def check_entry_point(image: Image) -> None:
    """The command line, on an example."""
    expect("tes inspect" in image.tes("--help"), "tes --help")
    seen = json.loads(image.tes("inspect", "--at", "2026-10-31", "--json", stdin=MESSAGE))
    expect(seen["build"] == "15.1.2507.39" and seen["finding"] == "OUT_OF_DATE", "tes inspect finds build and finding")
    expect("TES_STATE_DIR" in image.tes("config", "show"), "tes config show")


def check_compiled(image: Image) -> None:
    """What runs for each connection is machine code, and not the source beside it."""
    for name in COMPILED:
        done = image.run("/opt/tes/bin/python", "-c", f"import {name} as module; print(module.__file__)")
        file = done.stdout.decode().strip() or done.stderr.decode("utf-8", "replace")[-500:]
        expect(file.startswith("/opt/tes/lib/") and file.endswith(".so"), f"{name} is compiled: {file}")


def check_bill_of_materials(image: Image) -> None:
    """Every locked package that is for this machine is in it, and nothing else."""
    bill = json.loads((image.root / SBOM).read_text())
    expect(bill["bomFormat"] == "CycloneDX", f"{SBOM} is CycloneDX {bill['specVersion']}")
    listed = {item["name"].lower().replace("_", "-"): item["version"] for item in bill["components"]}
    listed.pop("tes", None)
    installed = {}
    for path in image.root.glob("opt/tes/lib/python3*/site-packages/*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        installed[name.lower().replace("_", "-").replace(".", "-")] = version
    installed.pop("tes")
    names = {name.replace(".", "-"): version for name, version in listed.items()}
    expect(names == installed, f"it lists the {len(installed)} packages that are installed")
    expect(bill["metadata"]["component"]["name"] == "tes", "it describes tes")


def check_worker(image: Image) -> None:
    """Workers against a real Kafka: one judges a feed, and one lives until SIGTERM ends it in good order."""
    with tempfile.TemporaryDirectory() as scratch, EmbeddedKafka(Path(scratch), jars_dir=ensure_jars()) as kafka:
        settings: dict[str, Any] = {
            "TES_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "TES_INSTANCE_ID": "tes-worker-0",
            "TES_WEB_PORT": "0",
        }
        expect(TOPICS["verdict"] in image.tes("topics", "create", **settings), "tes topics create")
        check_judgement(image, settings)
        command = image.command([*image.entry_point, "worker"], **settings)
        check_worker_life(
            command, Path(scratch) / "worker.log", "tes worker starts, and ends with exit code 0 on SIGTERM"
        )


def check_worker_life(command: Sequence[str], log: Path, what: str) -> None:
    """A worker behind another process, as `command` starts it, becomes ready, and ends well on SIGTERM."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        await_line(process, log, READY)
        # What started the worker does not end on SIGTERM; the worker is the process below it.
        os.kill(child_of(process.pid), signal.SIGTERM)
        expect(process.wait(timeout=60) == 0, what)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def check_judgement(image: Image, settings: dict[str, Any]) -> None:
    """The compiled worker writes what the plain Python of this tree gives for the same feed, each record once."""
    with FEED.open("rb") as file:
        lines = list(islice(file, FEED_LINES))
    here = Settings(bootstrap=settings["TES_KAFKA_BOOTSTRAP"])
    asyncio.run(produce_feed(here, lines))
    image.tes("worker", **settings, TES_REPLAY_UNTIL=UNTIL)
    found = asyncio.run(collect(here))
    rulebook = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
    refused: list[Exception] = []
    readers = (partial(read_connection, line) for line in lines)
    wanted = simulate(readers, rulebook, parse_moment("until", UNTIL), refused.append)
    for what, rows, core, names in (
        ("verdicts", found.verdicts, wanted.verdicts, ("verdict_id",)),
        ("notifications", found.notifications, wanted.notifications, ("notification_id",)),
        ("server rows", list(found.servers.values()), list(wanted.servers.values()), ("tenant_id", "server")),
    ):
        key = itemgetter(*names)
        same = sorted(rows, key=key) == sorted(map(to_record, core), key=key)
        expect(same and bool(rows), f"{len(core)} {what} are those of the plain Python of this tree")
    expect(len(found.dead_letters) == len(refused), f"{len(refused)} dead letter: what is malformed, and nothing else")


def await_line(process: subprocess.Popen[bytes], log: Path, line: str) -> None:
    """Wait until a log has a line.

    Raises:
        ImageError: the process ended before, or it took too long.
    """
    deadline = time.monotonic() + READY_SECONDS
    while line not in (text := log.read_text("utf-8", "replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ImageError(f"no line {line!r} of the worker (exit code {process.returncode}):\n{text[-3000:]}")
        time.sleep(0.1)


def child_of(pid: int) -> int:
    """The one child of a process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def main() -> int:
    """Check a mounted image, described on stdin by `buildah inspect`; exit code 0, or 1 with what it does not do."""
    parser = argparse.ArgumentParser(prog="tests.deploy.image", description=__doc__)
    parser.add_argument("root", type=Path, help="where the image is mounted")
    arguments = parser.parse_args()
    image = Image(arguments.root, json.load(sys.stdin)["OCIv1"]["config"])
    try:
        for check in (check_confinement, check_entry_point, check_compiled, check_bill_of_materials, check_worker):
            print(f"{check.__name__}:")
            check(image)
    except (ImageError, OSError, subprocess.TimeoutExpired) as error:
        print(f"scripts/image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
