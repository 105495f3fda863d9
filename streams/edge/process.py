"""What the door's process and sync's have in common: signals, log, probes, and how they end."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

import uvloop

from streams.edge.probes import LOOP_SECONDS
from streams.kafka.secret_files import secrets_of
from streams.log_events import log_event
from streams.settings.edge import EdgeSettings
from streams.state.private_files import make_private_folder
from streams.telemetry.logs import configure_logs
from streams.telemetry.probes import Heartbeat, Page, Probe, ProbeServer
from streams.telemetry.prometheus import CONTENT_TYPE

log = logging.getLogger(__name__)

EXIT_REFUSED: Final = 2
"""It could not start: settings, a file or an address were refused."""
EXIT_FAILED: Final = 70
TICK_SECONDS: Final = 1.0


class EdgeProcess(Protocol):
    """The door or sync, as a process of its own."""

    name: str

    def probes(self, heartbeat: Heartbeat) -> Mapping[str, Probe]:
        """The probe behind each path of the web server."""

    def metrics_page(self) -> bytes:
        """What `/metrics` answers."""

    def event_logged(self, name: str) -> None:
        """Count a named event that was logged."""

    async def start(self) -> None:
        """Start the work.

        Raises:
            OSError, ValueError: it cannot start; the message says why.
        """

    async def tick(self) -> None:
        """Do what is due; called about once a second. What it raises ends the process."""

    async def stop(self) -> None:
        """Shut the work down in order."""


def run_process(settings: EdgeSettings, make: Callable[[str], EdgeProcess], port: tuple[str, int]) -> int:
    """Run one process until SIGTERM or SIGINT; returns the exit code.

    Args:
        settings: of the edge.
        make: makes the process from the product's version; raises ValueError where the settings do not allow it.
        port: the variable that sets the web server's port, and its value; 0 for no web server.
    """
    secrets = secrets_of(settings)
    configure_logs(settings.log_format, secrets, lambda _: None)
    try:
        process = make(version("tes"))
    except ValueError as error:
        log.critical("edge failed to start: %s", error, extra=log_event("edge_not_started", why=str(error)))
        return EXIT_REFUSED
    configure_logs(settings.log_format, secrets, process.event_logged)
    about = log_event("edge_started", part=process.name, version=version("tes"), folder=str(settings.folder))
    log.info("edge %s %s starting", process.name, version("tes"), extra=about)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        exit_code = runner.run(_run(settings, process, port))
    # Its loop, which handled signals, is closed: a second SIGTERM would take the exit code away.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    about = log_event("edge_ended", part=process.name, exit_code=exit_code)
    log.info("edge %s exiting with code %d", process.name, exit_code, extra=about)
    return exit_code


async def _run(settings: EdgeSettings, process: EdgeProcess, port: tuple[str, int]) -> int:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    heartbeat = Heartbeat(LOOP_SECONDS)
    server = ProbeServer(process.probes(heartbeat), Page(process.metrics_page, CONTENT_TYPE))
    try:
        make_folder(settings.folder)
        lock_folder(settings.folder, process.name)
        await _serve(server, settings.web_host, *port)
        await process.start()
    except (OSError, ValueError) as error:
        why = "; ".join(getattr(error, "errors", None) or [str(error)])
        about = log_event("edge_not_started", part=process.name, why=why)
        log.critical("edge %s failed to start: %s", process.name, why, extra=about)
        await process.stop()
        await server.stop()
        return EXIT_REFUSED
    gc.collect()
    gc.freeze()
    exit_code = 0
    try:
        while not stopping.is_set():
            heartbeat.beat()
            await process.tick()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), TICK_SECONDS)
    except Exception:
        log.critical("edge %s failed", process.name, exc_info=True, extra=log_event("edge_failed", part=process.name))
        exit_code = EXIT_FAILED
    await process.stop()
    await server.stop()
    return exit_code


async def _serve(server: ProbeServer, host: str, variable: str, port: int) -> None:
    if not port:
        return
    try:
        await server.start(host, port)
    except OSError as error:
        why = f"{variable}: {port}: TES_EDGE_WEB_HOST {host}: {error.strerror or error}"
        raise OSError(error.errno, why) from None


def make_folder(folder: Path) -> None:
    """Make the folder of the edge for its owner only; one that is there stays as it is, so others may share it.

    Raises:
        OSError: it cannot be made, or is no folder that can be written to.
    """
    if not folder.exists():
        make_private_folder(folder)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"TES_EDGE_DIR: {folder}: must be a folder that this user may write to")


def lock_folder(folder: Path, name: str) -> None:
    """Lock the folder against another process of this name, until this one ends.

    Two doors would give two events the same number. Two syncs would write positions for each other's reading, so that
    verdicts are missing, or old ones come back.

    Raises:
        OSError: another process has locked it.
    """
    lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise OSError(f"TES_EDGE_DIR: {folder}: another {name} runs there") from None
