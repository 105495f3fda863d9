"""A milter that serves beside a test: in a thread, so that the test sees what it was told, or as a process to be hurt.

`python -m tests.support.milter_service SOCKET` serves `blocking_doorway` until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import uvloop

from streams.domain.exchange.build import parse_build
from streams.edge.milter.server import MilterServer
from tests.support.door import Doorway, standing_verdict
from tests.support.mail import GOOD, HOST
from tests.support.milter import MilterTold
from tests.support.places import unix
from tests.support.postfix import Postfix

BLOCKED = "550 5.7.230 no"
SECONDS = 60


def blocking_doorway(*, is_enforcing: bool = True, adds_header: bool = False) -> Doorway:
    """A door that blocks `HOST` all the time, unless a message shows the build `GOOD`."""
    doorway = Doorway(is_enforcing=is_enforcing, adds_header=adds_header)
    doorway.verdicts.put(standing_verdict(HOST, required_build=parse_build(GOOD)))
    return doorway


@contextlib.contextmanager
def served_milter(path: Path, doorway: Doorway, mode: int = 0o666) -> Iterator[MilterTold]:
    """Serve a door at a socket, in a thread with a loop of its own."""
    told, loop = MilterTold(), uvloop.new_event_loop()
    server = MilterServer(doorway.door, told)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(unix(path), mode), loop).result(SECONDS)
        try:
            yield told
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(1), loop).result(SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


class Front:
    """A port of a Postfix with a milter behind it."""

    def __init__(self, port: int, doorway: Doorway, told: MilterTold) -> None:
        self.port, self.doorway, self.told = port, doorway, told


class Fronts:
    """Opens ports of a Postfix with milters; `stack` ends them."""

    _numbers = count()

    def __init__(self, postfix: Postfix, stack: contextlib.ExitStack) -> None:
        self.postfix, self._stack = postfix, stack

    def socket(self) -> Path:
        """A path for a socket that Postfix may open."""
        return self.postfix.folder / "sockets" / f"m{next(self._numbers)}"

    def open(self, doorway: Doorway | None = None, **settings: str) -> Front:
        """A port with settings of main.cf of its own, and a door behind it; without one `HOST` is blocked."""
        doorway, path = doorway or blocking_doorway(), self.socket()
        told = self._stack.enter_context(served_milter(path, doorway))
        return Front(self.postfix.listen(path, **settings), doorway, told)


@contextlib.contextmanager
def milter_process(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Serve at a socket from a process of its own, killed at the end."""
    command = [sys.executable, "-m", "tests.support.milter_service", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


async def _serve(path: str) -> None:
    await MilterServer(blocking_doorway().door, MilterTold()).start(unix(Path(path)), 0o666)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
