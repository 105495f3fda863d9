"""Brings what the peers need, and says on what machine and with which versions a race was run."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
COMMITTED_DIR = REPOSITORY / "benchmarks"
CACHE_DIR = REPOSITORY / ".cache" / "bench"
COMPILED = REPOSITORY / ".cache" / "compiled"
"""The tree as an image has it, made by `scripts/compile`."""
PEERS_LOCK = REPOSITORY / "requirements" / "bench.txt"
JAVA_PEER = REPOSITORY / "benchmarks" / "kafka_streams"
_SHOWN_OWN = ("aiokafka", "fastavro", "faust-streaming", "rocksdict", "uvloop")
_SHOWN_PEERS = ("bytewax", "confluent-kafka", "quixstreams")


class MissingToolError(RuntimeError):
    """A program that a peer needs is not installed; the message says how to install it, or do without the peer."""


def _stamped(name: str, files: Iterable[Path]) -> Path:
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return CACHE_DIR / f"{name}-{digest[:16]}"


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def peers_python() -> Path:
    """The interpreter of the Python peers; their packages are installed once for each content of the lock."""
    folder = _stamped("peers", [PEERS_LOCK])
    python, finished = folder / "bin" / "python", folder / "finished"
    if not finished.exists():
        _say(f"installing the Python peers into {folder.relative_to(REPOSITORY)}")
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(PEERS_LOCK)]
        subprocess.run(install, check=True, stdout=sys.stderr)
        finished.touch()
    return python


def compiled() -> Path:
    """The tree with its hot modules compiled; made anew where the sources have changed."""
    subprocess.run([str(REPOSITORY / "scripts" / "compile")], check=True, stdout=sys.stderr)
    return COMPILED


def java_class_path() -> str:
    """The class path of the Kafka Streams peer, with its own class compiled.

    Raises:
        MissingToolError: there is no JDK, or no Maven.
    """
    for tool, package in (("mvn", "maven"), ("javac", "openjdk-17-jdk-headless")):
        if shutil.which(tool) is None:
            raise MissingToolError(
                f"{tool} is missing, Kafka Streams needs it: apt-get install {package}; "
                "or leave it out with --skip 'Kafka Streams'"
            )
    pom, source = JAVA_PEER / "pom.xml", JAVA_PEER / "KafkaStreamsPeer.java"
    jars, classes = _stamped("jars", [pom]), _stamped("classes", [pom, source])
    if not jars.exists():
        _say("fetching Kafka Streams and Avro with Maven")
        staged = jars.with_suffix(".unfinished")
        shutil.rmtree(staged, ignore_errors=True)
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={staged}"]
        subprocess.run(["mvn", "-q", "-B", "-f", str(pom), *goal], check=True, stdout=sys.stderr)
        staged.rename(jars)
    if not classes.exists():
        staged = classes.with_suffix(".unfinished")
        shutil.rmtree(staged, ignore_errors=True)
        subprocess.run(["javac", "-cp", f"{jars}/*", "-d", str(staged), str(source)], check=True, stdout=sys.stderr)
        staged.rename(classes)
    return f"{classes}:{jars}/*"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    except FileNotFoundError:
        return ""
    return (done.stdout or done.stderr).strip()


def _first(pattern: str, file: Path) -> str:
    try:
        found = re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return "unknown"
    return found[1].strip() if found else "unknown"


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    locked = PEERS_LOCK.read_text(encoding="utf-8")
    peers = {name: found[1] for name in _SHOWN_PEERS if (found := re.search(rf"^{name}==(\S+)", locked, re.MULTILINE))}
    java = re.search(r'version "([^"]+)"', _output("java", "-version"))
    commit = _output("git", "rev-parse", "--short=12", "HEAD")
    return {
        "cpu": _first(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo")),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(_first(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo"))) / (1 << 20)),
        "kernel": platform.release(),
        "commit": commit + ("+" if _output("git", "status", "--porcelain", "--", "streams", "benchmarks") else ""),
        "versions": {
            "python": platform.python_version(),
            "java": java[1] if java else "none",
            "kafka": _first(r"<version>(4[\d.]+)</version>", REPOSITORY / "streams" / "dev" / "pom.xml"),
            "kafka-streams": _first(r"kafka-streams</artifactId>\s*<version>([\d.]+)", JAVA_PEER / "pom.xml"),
            **{name: metadata.version(name) for name in _SHOWN_OWN},
            **peers,
        },
    }
