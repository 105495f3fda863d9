"""A single-node Apache Kafka on this machine's loopback, for the demo and for tests."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Self

from streams.dev.java import (
    LOGGING,
    EmbeddedKafkaError,
    MissingToolError,
    class_archive,
    format_storage,
    java_command,
    require_java,
    run_tool,
)
from streams.dev.ports import HOST, answers, choose_ports
from streams.dev.security import PROTOCOLS, BrokerSecurity
from streams.settings.folders import cache_folder

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_POM = "pom.xml"
_FORMATTED = "formatted"

# The demo and the tests replay days of mail with their own clock: records dated in the past must not expire and records
# dated ahead must be taken. The short broker session is what a restart after SIGKILL waits for.
_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}{more_listeners}
controller.listener.names=CONTROLLER
log.dirs={logs}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.retention.ms=-1
log.message.timestamp.after.max.ms=9223372036854775807
log.cleaner.dedupe.buffer.size=8388608
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""

# The kernel's death signal follows the thread that forked, not the process: brokers are forked by one thread that lives
# as long as the interpreter.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-kafka")


class EmbeddedKafka:
    """One broker with its own data directory, on free loopback ports; `with` starts and stops it.

    A data directory keeps its records and, while it is free, its port. A foreground broker dies with
    this process; one with `foreground=False` outlives it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        jars_dir: Path,
        java: str = "java",
        foreground: bool = True,
        security: BrokerSecurity | None = None,
    ) -> None:
        """Describe a broker on `data_dir`, with the directory `ensure_jars` returned; nothing runs yet."""
        self._data_dir = data_dir.resolve()
        self.log_file = self._data_dir / "broker.log"
        self._jars_dir = jars_dir.resolve()
        self._java = java
        self._foreground = foreground
        self._security = security
        self._ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """The address for clients, `127.0.0.1:port`; known from the first start on."""
        if not self._ports:
            raise EmbeddedKafkaError("the embedded Kafka was never started")
        return f"{HOST}:{self._ports[0]}"

    def bootstrap_of(self, protocol: str) -> str:
        """The address for clients of a security protocol; only with `security`."""
        if self._security is None or not self._ports:
            raise EmbeddedKafkaError(f"the embedded Kafka has no listener for {protocol}")
        return f"{HOST}:{self._ports[2 + PROTOCOLS.index(protocol)]}"

    @property
    def pid(self) -> int:
        """The broker's process id."""
        if self._process is None:
            raise EmbeddedKafkaError("the embedded Kafka is not running")
        return self._process.pid

    def start(self) -> str:
        """Start the broker and return its address once it answers clients."""
        archive = class_archive(self._jars_dir, self._java)
        return self._start([f"-XX:SharedArchiveFile={archive}"] if archive.exists() else [])

    def stop(self) -> None:
        """End the broker in good order, by force after 20 seconds; does nothing when none runs."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> str:
        """Start again on the same data and port, after stopping the broker if it still runs."""
        self.stop()
        return self.start()

    def _start(self, jvm_flags: list[str]) -> str:
        if self._process is not None and self._process.poll() is None:
            raise EmbeddedKafkaError(f"the embedded Kafka is already running, pid {self._process.pid}")
        (self._data_dir / "tmp").mkdir(parents=True, exist_ok=True)
        settings = self._data_dir / "server.properties"
        secured = self._security
        self._ports = self._ports or choose_ports(settings, 2 + (len(PROTOCOLS) if secured else 0))
        port, *more_ports = self._ports
        more_listeners = secured.listeners(HOST, more_ports[1:]) if secured else ""
        text = _properties(port, more_ports[0], self._data_dir / "log", more_listeners)
        settings.write_text(text + (secured.properties() if secured else ""))
        self._format(settings)
        command = java_command(self._jars_dir, self._java, jvm_flags, self._data_dir / "tmp")
        dies_with_parent = self._foreground and sys.platform == "linux"
        with self.log_file.open("ab") as log:
            log_start = log.tell()
            self._process = _spawner.submit(
                subprocess.Popen,
                [*command, "kafka.Kafka", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._data_dir,
                start_new_session=True,
                preexec_fn=partial(_die_with_parent, ctypes.CDLL(None).prctl, os.getpid())
                if dies_with_parent
                else None,
            ).result()
        try:
            self._await_answer(self._process, port, log_start)
        except BaseException:
            self.kill()
            raise
        return self.bootstrap

    def _format(self, settings: Path) -> None:
        """Do what `kafka-storage format` does to a new directory, from the copy made when the jars were fetched.

        Users are put in by the storage tool itself.
        """
        logs = self._data_dir / "log"
        if logs.exists():
            return
        if not (self._jars_dir / _FORMATTED).is_dir():
            raise EmbeddedKafkaError(f"{self._jars_dir} does not hold the embedded Kafka")
        if self._security is not None:
            format_storage(self._jars_dir, self._java, settings, self._data_dir, self._security.format_options())
            return
        unfinished = self._data_dir / "log.unfinished"
        shutil.copytree(self._jars_dir / _FORMATTED, unfinished, dirs_exist_ok=True)
        unfinished.rename(logs)

    def _await_answer(self, process: subprocess.Popen[bytes], port: int, log_start: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not answers(port):
            try:
                reason = f"ended with exit code {process.wait(timeout=0.02)}"
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                reason = f"did not answer on {HOST}:{port} within {_START_SECONDS:.0f} seconds"
            lines = self.log_file.read_bytes()[log_start:].decode("utf-8", "replace").splitlines()
            tail = "\n".join(lines[-30:]) or "(it printed nothing)"
            raise EmbeddedKafkaError(f"the embedded Kafka {reason}; the end of {self.log_file}:\n{tail}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ensure_jars(cache_dir: Path | None = None, *, java: str = "java") -> Path:
    """Bring what the broker runs from with Maven, once for each content of `pom.xml`, and return its directory.

    Without `cache_dir` that is below `kafka` in the product's cache folder.
    """
    require_java(java)
    sources = files("streams.dev")
    stamp = hashlib.sha256((sources / _POM).read_bytes() + (sources / LOGGING).read_bytes()).hexdigest()
    jars_dir = (cache_dir or cache_folder() / "kafka").resolve() / f"jars-{stamp[:16]}"
    jars_dir.parent.mkdir(parents=True, exist_ok=True)
    with (jars_dir.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars_dir.exists():
            with tempfile.TemporaryDirectory(dir=jars_dir.parent, prefix="fetching-") as scratch:
                staged = Path(scratch) / "jars"
                _fetch(sources, staged, java)
                staged.rename(jars_dir)
        if not class_archive(jars_dir, java).exists():
            _archive_classes(jars_dir, java)
    return jars_dir


def _fetch(sources: Traversable, target: Path, java: str) -> None:
    mvn = shutil.which("mvn")
    if mvn is None:
        raise MissingToolError("mvn (Apache Maven) is not installed: apt-get install maven")
    print("embedded Kafka: fetching its jars with Maven", file=sys.stderr, flush=True)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={target}"]
    with as_file(sources / _POM) as pom:
        run_tool([mvn, "-q", "-B", "-f", str(pom), *goal], "Maven could not fetch the jars of the embedded Kafka")
    (target / LOGGING).write_bytes((sources / LOGGING).read_bytes())
    settings = target / "format.properties"
    settings.write_text(_properties(9092, 9093, target / _FORMATTED))
    format_storage(target, java, settings, target, [])


def _properties(port: int, controller: int, logs: Path, more_listeners: str = "") -> str:
    return _SERVER_PROPERTIES.format(
        host=HOST, port=port, controller=controller, logs=logs, more_listeners=more_listeners
    )


def _archive_classes(jars_dir: Path, java: str) -> None:
    """Let one broker leave its loaded classes behind for the JVM to map: later starts take half the time."""
    print("embedded Kafka: preparing quick starts", file=sys.stderr, flush=True)
    archive = class_archive(jars_dir, java)
    unfinished = archive.with_suffix(".unfinished")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            broker = EmbeddedKafka(Path(scratch), jars_dir=jars_dir, java=java)
            broker._start([f"-XX:ArchiveClassesAtExit={unfinished}"])  # noqa: SLF001 - the same class, on its way to a faster start
            broker.stop()
        unfinished.rename(archive)
    except (OSError, EmbeddedKafkaError) as error:
        print(f"embedded Kafka: starts stay slow, no class archive: {error}", file=sys.stderr, flush=True)


def _die_with_parent(prctl: Callable[[int, int], int], parent: int) -> None:
    prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
