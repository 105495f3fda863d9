"""How the programs of Apache Kafka are run: with which Java, from which jars."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

LOGGING = "log4j2.properties"
_JVM_FLAGS = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xlog:all=error:stdout")


class EmbeddedKafkaError(RuntimeError):
    """The embedded Kafka could not be fetched or started; the message says why."""


class MissingToolError(EmbeddedKafkaError):
    """A program the embedded Kafka needs is not installed; the message says how to install it."""


def class_archive(jars_dir: Path, java: str) -> Path:
    """The file of the classes that a broker has loaded, for this very Java; it may not be there yet."""
    binary = Path(shutil.which(java) or java).resolve()
    identity = f"{binary} {binary.stat().st_mtime_ns}" if binary.exists() else str(binary)
    return jars_dir / f"classes-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.jsa"


def require_java(java: str) -> None:
    """Refuse a Java that is too old for the broker.

    Raises:
        MissingToolError: it is, or there is none.
    """
    found = shutil.which(java)
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr if found else ""
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < 17:
        state = f"is version {version[1]}" if version else "is not installed"
        raise MissingToolError(f"java 17 or later is needed, {java} {state}: apt-get install openjdk-17-jre-headless")


def java_command(jars_dir: Path, java: str, flags: list[str], scratch: Path) -> list[str]:
    """The command up to the class to run; `scratch` is for its temporary files."""
    # The class archive is valid for one order of the jars only; a wildcard leaves the order to the file system.
    jars = os.pathsep.join(str(jar) for jar in sorted(jars_dir.glob("*.jar")))
    properties = [f"-Dlog4j2.configurationFile={jars_dir / LOGGING}", f"-Djava.io.tmpdir={scratch}"]
    return [shutil.which(java) or java, *_JVM_FLAGS, *flags, *properties, "-cp", jars]


def format_storage(jars_dir: Path, java: str, settings: Path, scratch: Path, options: list[str]) -> None:
    """Format the data directory that `settings` name, as `kafka-storage format` does.

    Raises:
        EmbeddedKafkaError: the storage tool failed.
    """
    tool = ["kafka.tools.StorageTool", "format", "-t", "embedded-kafka", "-c", str(settings), *options]
    run_tool([*java_command(jars_dir, java, [], scratch), *tool], "the storage tool of the embedded Kafka failed")


def run_tool(command: list[str], failure: str) -> None:
    """Run a program to its end.

    Raises:
        EmbeddedKafkaError: it failed; the message has `failure` and what it printed.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise EmbeddedKafkaError(f"{failure} (exit code {done.returncode}):\n{done.stdout.strip()}")
