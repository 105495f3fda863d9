"""A process as an operator's machine sees it: started, signalled, and measured from outside."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

KILLED = -signal.SIGKILL
SAMPLE_SECONDS = 0.1
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


_prctl = ctypes.CDLL(None).prctl


def _die_with_parent() -> None:
    """A process must not outlive a run that was killed."""
    _prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG


async def launch(arguments: Sequence[str], log_file: Path, settings: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start `python ARGUMENTS` with these variables on top of this process's, less all that set something of tes."""
    # Not `operations.feeds.start_worker`: that one cannot be given LD_PRELOAD without giving it to everybody.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TES_")} | {**settings}
    with log_file.open("xb") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env=variables,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,
        )


class Process:
    """One process; its log goes to a file of its own."""

    def __init__(self, process: asyncio.subprocess.Process, log_file: Path) -> None:
        self._process, self.log_file = process, log_file
        self.rss: list[int] = []
        self._sampling = asyncio.create_task(self._sample())

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.returncode

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.log_file.read_text("utf-8", "replace")

    def signal(self, which: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.code is None:
            self._process.send_signal(which)

    async def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def terminate(self) -> int:
        """End it in good order; gives the exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def wait(self) -> int:
        """Wait for its end; gives the exit code."""
        code = await self._process.wait()
        self._sampling.cancel()
        return code

    async def _sample(self) -> None:
        statm = Path(f"/proc/{self._process.pid}/statm")
        while self.code is None:
            try:
                self.rss.append(int(statm.read_text().split()[1]) * PAGE_BYTES)
            except (OSError, IndexError):
                return
            await asyncio.sleep(SAMPLE_SECONDS)
