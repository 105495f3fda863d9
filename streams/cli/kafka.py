"""`tes kafka`: the embedded Kafka as a background process."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from streams.cli.messages import print_message
from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.dev.java import EmbeddedKafkaError, MissingToolError
from streams.settings.folders import state_folder

_STATE_FILE = "running.json"
_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class _Running:
    """The broker a data directory belongs to; `started` tells it from a later process with the same id."""

    pid: int
    bootstrap: str
    started: str

    def alive(self) -> bool:
        return _process_started(self.pid) == self.started


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, action, text in (
        ("start", _start, "start a broker in the background and print its address"),
        ("stop", _stop, "stop the broker that `start` left running"),
    ):
        action_parser = actions.add_parser(name, help=text, description=text)
        action_parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of its records and state")
        action_parser.set_defaults(run=_with_exit_code, kafka_action=action)


def _with_exit_code(arguments: argparse.Namespace) -> int:
    try:
        arguments.kafka_action(arguments.data_dir or state_folder() / "kafka-data")
    except MissingToolError as error:
        _say(str(error))
        return 2
    except (EmbeddedKafkaError, OSError) as error:
        _say(str(error))
        return 1
    return 0


def _start(data_dir: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    with _locked(data_dir):
        running = _read_state(data_dir)
        if running is None or not running.alive():
            running = _start_detached(data_dir)
            _say(f"started, pid {running.pid}, data in {data_dir}")
        else:
            _say(f"already running, pid {running.pid}")
    print(running.bootstrap, flush=True)


def _start_detached(data_dir: Path) -> _Running:
    broker = EmbeddedKafka(data_dir, jars_dir=ensure_jars(), foreground=False)
    bootstrap = broker.start()
    try:
        started = _process_started(broker.pid)
        if started is None:
            raise EmbeddedKafkaError(f"the broker exited right after its start; see {broker.log_file}")
        running = _Running(broker.pid, bootstrap, started)
        unfinished = data_dir / f"{_STATE_FILE}.unfinished"
        unfinished.write_text(json.dumps(asdict(running)) + "\n")
        unfinished.rename(data_dir / _STATE_FILE)
    except BaseException:
        broker.stop()
        raise
    return running


def _stop(data_dir: Path) -> None:
    if not data_dir.is_dir():
        _say(f"nothing runs on {data_dir}")
        return
    with _locked(data_dir):
        running = _read_state(data_dir)
        if running is None or not running.alive():
            _say(f"nothing runs on {data_dir}")
        else:
            _end(running)
            _say(f"stopped, pid {running.pid}")
        (data_dir / _STATE_FILE).unlink(missing_ok=True)


def _end(running: _Running) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(running.pid, how)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + _STOP_SECONDS
        while running.alive():
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        else:
            return
    raise EmbeddedKafkaError(f"pid {running.pid} does not exit")


def _read_state(data_dir: Path) -> _Running | None:
    path = data_dir / _STATE_FILE
    try:
        row = json.loads(path.read_text())
        return _Running(int(row["pid"]), str(row["bootstrap"]), str(row["started"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise EmbeddedKafkaError(
            f"{path} is corrupt; stop its broker if one is running, then remove the file"
        ) from error


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    with (data_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _process_started(pid: int) -> str | None:
    """When the process began, in the system's own terms; None when it has ended."""
    if sys.platform != "linux":
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
        return listed.stdout.strip() or None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The ticks count from boot: another boot can have the same ones.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _say(text: str) -> None:
    print_message(f"tes kafka: {text}")
