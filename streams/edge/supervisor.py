"""Runs both processes of an edge: restarts the one that dies, and ends with both."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from streams.edge.process import EXIT_REFUSED
from streams.kafka.secret_files import secrets_of
from streams.log_events import log_event
from streams.settings.edge import EdgeSettings
from streams.telemetry.logs import configure_logs

log = logging.getLogger(__name__)

PARTS: Final = ("door", "sync")
FIRST_DELAY_SECONDS: Final = 0.1
LAST_DELAY_SECONDS: Final = 1.0
LONG_LIFE_SECONDS: Final = 10.0
"""A process that lived so long is started again at once."""
STOP_SECONDS: Final = 20.0
"""So long a process may take to end; then it is killed."""
_PR_SET_PDEATHSIG: Final = 1


def run_both(settings: EdgeSettings, command: Sequence[str] = (sys.executable, "-m", "streams.cli", "edge")) -> int:
    """Run `command door` and `command sync` until SIGTERM or SIGINT; returns the exit code."""
    configure_logs(settings.log_format, secrets_of(settings), lambda _: None)
    return asyncio.run(_Supervisor(command).run())


class _Supervisor:
    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._stopping = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        await asyncio.gather(*(self._keep(part) for part in PARTS))
        return self._exit_code

    async def _keep(self, part: str) -> None:
        """Have a process run, again and again, until all are to end."""
        delay, is_first = FIRST_DELAY_SECONDS, True
        while not self._stopping.is_set():
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(*self._command, part, preexec_fn=_end_with_parent)
            exit_code = await self._watch(process)
            if self._stopping.is_set():
                self._exit_code = self._exit_code or max(0, exit_code)
                return
            if is_first and exit_code == EXIT_REFUSED:
                # It has said what it refuses, and would again.
                self._exit_code = EXIT_REFUSED
                self._stopping.set()
                return
            is_first = False
            delay = FIRST_DELAY_SECONDS if time.monotonic() - began > LONG_LIFE_SECONDS else delay
            about = log_event("edge_restarted", part=part, exit_code=exit_code)
            log.error("edge %s ended with code %d, and is started again", part, exit_code, extra=about)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            delay = min(2 * delay, LAST_DELAY_SECONDS)

    async def _watch(self, process: asyncio.subprocess.Process) -> int:
        """The exit code of a process, which is told to end once all are to."""
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await asyncio.wait([ended], timeout=STOP_SECONDS)
        if not ended.done():
            with suppress(ProcessLookupError):
                process.kill()
        return await ended


def _end_with_parent() -> None:
    """A process that outlives its parent would hold the sockets of the next one."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
