"""Builds a release from a commit: wheel, source, deployment files, chart, contents, origin, checksums; see
`scripts/release`.

What is built depends on the commit alone, not on when, where and by whom: files have the commit's time, one owner, and
an order.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[1]
MATERIALS: Final = ("pyproject.toml", "requirements/image.txt", "requirements/image-build.txt", "Dockerfile")
"""What of the commit says what a release is made with."""
MANUAL: Final = "share/man/man1/tes.1"
"""Where the manual page is, below the folder that a wheel is installed into."""
STATEMENT, PROVENANCE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"


def git(*words: str) -> bytes:
    """What git says of this repository."""
    return subprocess.run(["git", *words], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE).stdout


def run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a tool; what it prints is shown where it fails."""
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.stderr.buffer.write(done.stdout)
        raise SystemExit(f"release: {command[0]} ended with {done.returncode}")


def digest(path: Path) -> str:
    """A file's SHA-256, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pack(folder: Path, files: Iterable[Path], prefix: str, at: int, into: Path) -> None:
    """Write files of a folder into a tar archive that depends on their contents and modes alone."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(files):
            info = tarfile.TarInfo(f"{prefix}/{path.relative_to(folder).as_posix()}")
            content = path.read_bytes()
            info.size, info.mtime, info.mode = len(content), at, 0o755 if os.access(path, os.X_OK) else 0o644
            archive.addfile(info, io.BytesIO(content))
    with into.open("wb") as out, gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=at) as compressed:
        compressed.write(packed.getvalue())


def pack_chart(source: Path, at: int, into: Path) -> None:
    """Write the Helm chart as `helm install` takes it; what the chart links to is in it as files."""
    chart = source / "deploy" / "helm" / "tes"
    pack(chart, (path for path in chart.rglob("*") if path.is_file()), chart.name, at, into)


def build_python(source: Path, name: str, at: int, out: Path) -> None:
    """The wheel and the source distribution; the latter is packed anew, as setuptools keeps times of the checkout."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(at), "COMPILE": "0"}
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)], environment)
    archive = out / f"{name}.tar.gz"
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as built:
            built.extractall(folder, filter="data")
        root = Path(folder) / name
        pack(root, (path for path in root.rglob("*") if path.is_file()), name, at, archive)


def write_contents(source: Path, out: Path) -> None:
    """What is in an installation, by the lock that the image is installed from, in CycloneDX's form."""
    tool = Path(sys.executable).parent / "cyclonedx-py"
    command = [tool, "requirements", "--output-reproducible", "--of", "JSON", "--sv", "1.6", "--mc-type", "application"]
    options = ["--pyproject", source / "pyproject.toml", "-o", out, source / "requirements" / "image.txt"]
    run([*map(str, command), *map(str, options)], os.environ)


def provenance(version: str, commit: str, source: Path, files: Iterable[Path]) -> dict[str, Any]:
    """From what the files were made, as an in-toto statement in SLSA's form; it is not signed."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": path.name, "digest": {"sha256": digest(path)}} for path in sorted(files)],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": "tes:scripts/release",
                "externalParameters": {"version": version},
                "internalParameters": {"python": ".".join(map(str, sys.version_info[:2]))},
                "resolvedDependencies": [
                    {"name": "tes", "digest": {"gitCommit": commit}},
                    *({"name": name, "digest": {"sha256": digest(source / name)}} for name in MATERIALS),
                ],
            },
            "runDetails": {"builder": {"id": "tes:scripts/release"}},
        },
    }


def build(revision: str, out: Path) -> list[Path]:
    """Build a commit's release into a folder; returns its files."""
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}").decode().strip()
    at = int(git("show", "--no-patch", "--format=%ct", commit))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as archive:
            archive.extractall(source, filter="data")
        version = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        name = f"tes-{version}"
        deploy = [path for path in (source / "deploy").rglob("*") if path.is_file()]
        pack(source, [*deploy, source / "LICENSE"], f"{name}-deploy", at, out / f"{name}-deploy.tar.gz")
        pack_chart(source, at, out / f"{name}-chart.tgz")
        write_contents(source, out / f"{name}.cdx.json")
        build_python(source, name, at, out)
        wheel = f"{name}-py3-none-any.whl"
        others = [f"{name}{end}" for end in (".tar.gz", "-deploy.tar.gz", "-chart.tgz", ".cdx.json")]
        made = [out / each for each in (wheel, *others)]
        statement = json.dumps(provenance(version, commit, source, made), indent=1) + "\n"
    origin = out / f"{name}.provenance.json"
    origin.write_text(statement, encoding="utf-8")
    made.append(origin)
    sums = out / "SHA256SUMS"
    sums.write_text("".join(f"{digest(path)}  {path.name}\n" for path in sorted(made)), encoding="utf-8")
    return [*made, sums]


def left_out(wheel: Path, revision: str) -> list[str]:
    """Which files of the product are not in the wheel, and which are that are none of it."""
    tracked = git("ls-tree", "-r", "--name-only", revision, "streams", "schemas").decode().splitlines()
    wanted = {name if name.startswith("streams/") else f"streams/{name}" for name in tracked if _ships(name)}
    wanted.add(f"{'-'.join(wheel.name.split('-')[:2])}.data/data/{MANUAL}")
    with zipfile.ZipFile(wheel) as opened:
        there = {name for name in opened.namelist() if ".dist-info/" not in name}
    return sorted(wanted ^ there)


def _ships(name: str) -> bool:
    """Whether a file is for those who run the product, and not only for its authors."""
    return Path(name).name != "README.md" and Path(name).suffix not in {".pot", ".pyx", ".pxd"}


def main() -> int:
    """Build a release, and say what is in it; with `--check` twice, and compare."""
    parser = argparse.ArgumentParser(prog="scripts/release", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--revision", default="HEAD", metavar="REVISION", help="what is built (%(default)s)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "dist", metavar="DIR", help="where (dist)")
    parser.add_argument(
        "--check", action="store_true", help="build it twice, and fail where a byte differs or the wheel lacks a file"
    )
    arguments = parser.parse_args()
    files = build(arguments.revision, arguments.out)
    if arguments.check:
        with tempfile.TemporaryDirectory() as folder:
            again = build(arguments.revision, Path(folder))
            differing = [one.name for one, two in zip(files, again, strict=True) if digest(one) != digest(two)]
        if differing:
            print(f"release: differs when it is built again: {', '.join(differing)}", file=sys.stderr)
            return 1
        if odd := left_out(files[0], arguments.revision):
            print(f"release: in the wheel or in the commit alone: {', '.join(odd)}", file=sys.stderr)
            return 1
    for path in files:
        print(f"{digest(path)}  {os.path.relpath(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
