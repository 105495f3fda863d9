"""Builds the Debian package of a commit, and tries it; see `scripts/deb`.

It has an environment of Debian's own Python with the locked libraries and the product, compiled. Two builds give the
same bytes where compiler and Python are the same: files have the commit's time, one owner and an order, and name no
folder of the machine that built them.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from build_release import REPOSITORY, digest, git, run, write_contents

CACHE: Final = REPOSITORY / ".cache" / "deb"
DEBIANS_PYTHON: Final = Path("/usr/bin/python3")
HOME: Final = Path("opt/tes")
"""The folder of the environment, below the root."""
PACKAGING: Final = Path("deploy/debian")
PLAIN: Final = ("edge.env", "connectors.yaml")
"""The settings that everybody may read; the others may hold secrets."""
SECRETS: Final = ("worker", "kafka", "report", "notify")
"""The folders below /etc/tes for passwords and keys."""
SHELLS: Final = {
    "bash": "usr/share/bash-completion/completions/tes",
    "zsh": "usr/share/zsh/vendor-completions/_tes",
    "fish": "usr/share/fish/vendor_completions.d/tes.fish",
}
MAINTAINING: Final = ("preinst", "postinst", "prerm", "postrm")


def said_by(*command: str | Path) -> str:
    """What a tool prints."""
    return subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True).stdout


def debians_version() -> tuple[int, int]:
    """Major and minor version of Debian's Python."""
    major, minor = said_by(DEBIANS_PYTHON, "-c", "import sys; print(*sys.version_info[:2])").split()
    return int(major), int(minor)


def debian_version(version: str) -> str:
    """A version of Python's form in Debian's, where what comes before a release sorts before it."""
    return re.sub(r"\.?(a|b|rc|dev)(\d+)", r"~\1\2", version)


# The parts: libraries, the product, its compiled modules.


def wheels_of(source: Path) -> Path:
    """A folder with the locked libraries as wheels; they are fetched, or built where there is none, once for a lock."""
    lock = source / "requirements" / "image.txt"
    folder = CACHE / f"wheels-{digest(lock)[:16]}-{'.'.join(map(str, debians_version()))}"
    if not (folder / ".ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        options = ("--require-hashes", "--no-build-isolation", "--wheel-dir", str(folder))
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", *options, "-r", str(lock)]
        run(command, os.environ | {"SOURCE_DATE_EPOCH": "315532800"})
        (folder / ".ready").touch()
    return folder


def stamp_of(source: Path) -> str:
    """What `scripts/compile` marks its result with: a hash over all that the compiled modules are made from."""
    # `git ls-files` sorts all names at once, whatever they end with.
    found = (path for end in ("py", "pyi", "pyx", "pxd") for path in (source / "streams").rglob(f"*.{end}"))
    modules = sorted(str(path.relative_to(source)) for path in found)
    named = ("setup.py", "compiled.txt", "requirements/dev.txt", "scripts/compile", *modules)
    return hashlib.sha256(b"".join((source / name).read_bytes() for name in named)).hexdigest()


def compiled_here(source: Path, wheels: Path) -> Path:
    """A tree with the modules compiled by Debian's Python and the locked tools, once for a commit's modules."""
    folder = CACHE / f"compiled-{stamp_of(source)[:16]}"
    if not (folder / ".stamp").exists():
        tools = CACHE / f"tools-{digest(source / 'requirements' / 'image-build.txt')[:16]}"
        python = tools / "bin" / "python"
        if not (tools / ".ready").exists():
            run([str(DEBIANS_PYTHON), "-m", "venv", "--clear", str(tools)], os.environ)
            lock = str(source / "requirements" / "image-build.txt")
            run([str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock], os.environ)
            (tools / ".ready").touch()
        # The types of the product are checked before it is compiled, and with them what it makes of these packages.
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
        run([*install, *map(str, sorted(wheels.glob("*.whl")))], os.environ)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        command = f"cd '{folder}' && exec '{python}' setup.py -q build_ext --inplace"
        run(["sh", "-c", command], os.environ | {"COMPILE": "1"})
        (folder / ".stamp").write_text(stamp_of(source) + "\n", encoding="utf-8")
    return folder


def modules_in(tree: Path, source: Path) -> dict[str, Path]:
    """The compiled modules of a tree by their place among the packages.

    Raises:
        SystemExit: they are not those of this source.
    """
    stamp = tree / ".stamp"
    if not stamp.exists() or stamp.read_text(encoding="utf-8").strip() != stamp_of(source):
        raise SystemExit(f"deb: {tree}: was not compiled from this commit")
    tag = "cpython-{}{}-*.so".format(*debians_version())
    found = {path.name: path for path in tree.glob(f"*__mypyc.{tag}")}
    if not found:
        raise SystemExit(f"deb: {tree}: was compiled by another Python than Debian's")
    patterns = [f"{line}.py" for line in (source / "compiled.txt").read_text(encoding="utf-8").split()]
    for path in (path for pattern in (*patterns, "**/*.pyx") for path in (source / "streams").glob(pattern)):
        name = path.relative_to(source).with_suffix("")
        (extension,) = (tree / name.parent).glob(f"{name.name}.{tag}")
        found[str(name.parent / extension.name)] = extension
    return found


# The root: everything that the package brings.


def make_environment(root: Path, wheels: Sequence[Path], modules: Mapping[str, Path]) -> None:
    """The environment of Debian's Python with these wheels, and compiled modules beside their sources."""
    home, (major, minor) = root / HOME, debians_version()
    packages = home / "lib" / f"python{major}.{minor}" / "site-packages"
    packages.mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "lib64").symlink_to("lib")
    (home / "bin" / "python3").symlink_to(DEBIANS_PYTHON)
    for name in ("python", f"python{major}.{minor}"):
        (home / "bin" / name).symlink_to("python3")
    settings = f"home = {DEBIANS_PYTHON.parent}\ninclude-system-site-packages = false\nversion = {major}.{minor}\n"
    (home / "pyvenv.cfg").write_text(settings, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--quiet"]
    run([*pip, "--no-deps", "--no-index", "--no-compile", *map(str, wheels)], os.environ)
    # dpkg knows what is installed: pip must not take it for its own, and where a wheel lay is no matter.
    for name in ("RECORD", "direct_url.json", "REQUESTED"):
        for path in packages.glob(f"*.dist-info/{name}"):
            path.unlink()
    for path in packages.glob("*.dist-info/INSTALLER"):
        path.write_text("dpkg\n", encoding="utf-8")
    for path in (home / "bin").iterdir():
        if not path.is_symlink() and path.name != "tes":
            path.unlink()
    start = home / "bin" / "tes"
    start.write_text(re.sub(r"\A#!.*", f"#!/{HOME}/bin/python", start.read_text(encoding="utf-8")), encoding="utf-8")
    for name in ("share", "include", "etc"):
        shutil.rmtree(home / name, ignore_errors=True)
    for name, path in modules.items():
        shutil.copyfile(path, packages / name)
    # olefile brings a module for Python 2 beside its own, which nothing imports.
    command = [str(DEBIANS_PYTHON), "-I", "-m", "compileall", "-q", "-x", r"olefile/olefile2\.py$"]
    options = ["--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/", str(home / "lib")]
    run([*command, *options], os.environ | {"PYTHONHASHSEED": "0"})


def compress(text: bytes, into: Path, at: int) -> None:
    """Write a file by gzip, without its name."""
    into.parent.mkdir(parents=True, exist_ok=True)
    with into.open("wb") as out, gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=at) as compressed:
        compressed.write(text)


def add_system_files(root: Path, source: Path, at: int) -> None:
    """Services, settings, users, manual page and documents: what lies outside of the environment."""
    for name in ("usr/bin", "usr/lib/systemd/system", "usr/lib/sysusers.d", "etc/tes", "usr/share/doc/tes"):
        (root / name).mkdir(parents=True)
    (root / "usr" / "bin" / "tes").symlink_to(f"/{HOME}/bin/tes")
    for path in (source / "deploy" / "systemd").iterdir():
        place = "usr/lib/systemd/system" if path.suffix == ".service" else "etc/tes"
        shutil.copyfile(path, root / place / path.name)
    for name in SECRETS:
        (root / "etc" / "tes" / name).mkdir()
    shutil.copyfile(source / PACKAGING / "sysusers.conf", root / "usr/lib/sysusers.d/tes.conf")
    shutil.copyfile(source / PACKAGING / "copyright", root / "usr/share/doc/tes/copyright")
    compress((source / "docs/reference/tes.1").read_bytes(), root / "usr/share/man/man1/tes.1.gz", at)
    compress((source / "CHANGELOG.md").read_bytes(), root / "usr/share/doc/tes/changelog.gz", at)


def add_completion(root: Path) -> None:
    """Scripts that complete commands of `tes`, as the installed one prints them."""
    for shell, place in SHELLS.items():
        path = root / place
        path.parent.mkdir(parents=True)
        # Isolated: of the installed modules, not of those in the current folder.
        command = (root / HOME / "bin" / "python", "-I", "-m", "streams.cli", "completion", shell)
        path.write_text(said_by(*command), encoding="utf-8")


def add_control(root: Path, source: Path, version: str) -> None:
    """What dpkg knows of the package: its fields, its settings, its scripts and its checksums."""
    control, (major, minor) = root / "DEBIAN", debians_version()
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    control.mkdir()
    fields = {
        "VERSION": debian_version(version),
        "ARCHITECTURE": said_by("dpkg", "--print-architecture").strip(),
        "SIZE": str(sum(-(-path.stat().st_size // 1024) for path in files)),
        "PYTHON": f"{major}.{minor}",
        "NEXT": f"{major}.{minor + 1}",
    }
    text = (source / PACKAGING / "control").read_text(encoding="utf-8")
    (control / "control").write_text(re.sub("|".join(fields), lambda found: fields[found[0]], text), encoding="utf-8")
    settings = [path for path in files if path.is_relative_to(root / "etc")]
    (control / "conffiles").write_text("".join(f"/{path.relative_to(root)}\n" for path in settings), encoding="utf-8")
    own = [path for path in files if path not in settings]
    sums = (f"{md5(path)}  {path.relative_to(root)}\n" for path in own)
    (control / "md5sums").write_text("".join(sums), encoding="utf-8")
    for name in MAINTAINING:
        shutil.copyfile(source / PACKAGING / name, control / name)


def md5(path: Path) -> str:
    """A file's MD5, by which dpkg notices damage."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def settle(root: Path, at: int) -> None:
    """Give every file its mode and the commit's time."""
    runs = {root / HOME / "bin" / "tes", *(root / "DEBIAN" / name for name in MAINTAINING)}
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            within = path.parent == root / "etc" / "tes"
            is_secret = within and path.name not in PLAIN
            path.chmod((0o755 if path.is_dir() or path in runs else 0o644) & (0o750 if is_secret else 0o755))
        os.utime(path, (at, at), follow_symlinks=False)


def traces_of(root: Path, folders: Sequence[Path]) -> list[str]:
    """The files that name a folder of this machine."""
    named = [str(folder).encode() for folder in folders]
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return [str(path.relative_to(root)) for path in files if any(name in path.read_bytes() for name in named)]


def pack(root: Path, package: Path, at: int) -> None:
    """Make the package of a root."""
    command = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--threads-max=1", "--build", str(root), str(package)]
    run(command, os.environ | {"SOURCE_DATE_EPOCH": str(at)})


def build(revision: str, out: Path, compiled: Path | None) -> Path:
    """Build a commit's package into a folder; gives its path.

    Raises:
        SystemExit: it cannot be built, or would name a folder of this machine.
    """
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}").decode().strip()
    at = int(git("show", "--no-patch", "--format=%ct", commit))
    CACHE.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source, root, product = (Path(folder) / name for name in ("source", "root", "product"))
        with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as archive:
            archive.extractall(source, filter="data")
        version = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        wheels = wheels_of(source)
        modules = modules_in(compiled or compiled_here(source, wheels), source)
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(at), "COMPILE": "0"}
        command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(product), str(source)]
        run(command, environment)
        make_environment(root, sorted([*wheels.glob("*.whl"), *product.glob("*.whl")]), modules)
        add_system_files(root, source, at)
        add_completion(root)
        write_contents(source, root / "usr/share/doc/tes/sbom.cdx.json")
        add_control(root, source, version)
        settle(root, at)
        # Modules that another Python's settings linked may look for libraries where that one lies.
        folders = {Path(folder), REPOSITORY, Path(sys.base_prefix)} - {DEBIANS_PYTHON.parents[1]}
        if odd := traces_of(root, sorted(folders)):
            raise SystemExit(f"deb: names a folder of this machine: {', '.join(odd)}")
        architecture = said_by("dpkg", "--print-architecture").strip()
        package = out / f"tes_{debian_version(version)}_{architecture}.deb"
        pack(root, package, at)
    return package


def main() -> int:
    """Build the package; with `--check` twice, and install, use, upgrade and purge it in a root of its own."""
    parser = argparse.ArgumentParser(prog="scripts/deb", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--revision", default="HEAD", metavar="REVISION", help="what is built (%(default)s)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "dist", metavar="DIR", help="where (dist)")
    parser.add_argument(
        "--compiled",
        type=Path,
        metavar="DIR",
        help="what scripts/compile made of the same commit; without it Debian's Python and gcc compile it now",
    )
    parser.add_argument(
        "--check", action="store_true", help="build it twice and compare, then try it in a root of its own; as root"
    )
    arguments = parser.parse_args()
    compiled = arguments.compiled.resolve() if arguments.compiled else None
    package = build(arguments.revision, arguments.out, compiled)
    if arguments.check:
        with tempfile.TemporaryDirectory() as folder:
            if digest(build(arguments.revision, Path(folder), compiled)) != digest(package):
                print(f"deb: {package.name} differs when it is built again", file=sys.stderr)
                return 1
        tests = [str(REPOSITORY / ".venv" / "bin" / "python"), "-m", "tests.deploy.debian", str(package.resolve())]
        if code := subprocess.run(tests, cwd=REPOSITORY, check=False).returncode:
            return code
    print(f"{digest(package)}  {os.path.relpath(package)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
