"""`tes` as a process of its own, with nothing of this process's TES_ variables."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS, START_SECONDS = 60, 180
"""How long to wait for what is to come, and for a process that loads its libraries on a busy machine."""
_prctl = ctypes.CDLL(None).prctl


def _die_with_parent() -> None:
    _prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG


def command_of(*words: str) -> list[str]:
    """The command line of `tes`."""
    return [sys.executable, "-m", "streams.cli", *words]


def environment_of(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these in the place of every TES_ variable."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TES_")} | dict(variables)


class Process:
    """A part of the product that runs; its log is a file."""

    def __init__(self, log: Path, variables: Mapping[str, str], *words: str) -> None:
        """Start `tes` with these words. Another start with the same log goes on in it."""
        self.words, self._log = words, log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command_of(*words),
                env=environment_of(variables),
                stdout=file,
                stderr=file,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, and no lock
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text("utf-8", "replace")

    def until_ready(self, port: int, path: str = "/readyz") -> Any:
        """Wait until its web server says at a path that it is ready; returns what it says.

        Raises:
            RuntimeError: it ended, or is not ready in time.
        """
        deadline = time.monotonic() + START_SECONDS
        said: Any = "nothing"
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
            except OSError as error:
                said = str(error)
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(self.words)} is not ready: {said}\n{self.log[-4000:]}")
            time.sleep(0.05)

    def until_said(self, port: int, text: str, path: str = "/readyz") -> Any:
        """Wait until its web server says that it is not ready, with this text in what it says; returns that."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
                if text in said:
                    return json.loads(said)
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"{' '.join(self.words)} never said {text}\n{self.log[-4000:]}")

    def ended(self) -> int:
        """Wait until it has ended by itself; returns its exit code."""
        return self._process.wait(START_SECONDS)

    def until_ended_or_ready(self, port: int) -> None:
        """Wait until it has ended, or says that it is ready."""
        try:
            self.until_ready(port)
        except RuntimeError:
            if self._process.poll() is None:
                raise

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it, if it still runs; returns its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            return self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
