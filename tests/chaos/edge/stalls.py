"""Measures when the machine stood still, as a program of its own: a timer that fires late, a disk that lets wait.

It ends at SIGTERM. What a door cannot help is not to be taken for slowness of its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.chaos.edge.log import Span

TIMER_SECONDS: Final = 0.02
DISK_SECONDS: Final = 0.1
LEAST_MS: Final = 50
"""What takes no longer is no stall."""
PAGE_BYTES: Final = 4096


def now_ms() -> int:
    """Now, in UTC milliseconds."""
    return time.time_ns() // 1_000_000


def measure(act: Callable[[], None], pause: float, tell: Callable[[Span], None]) -> None:
    """Sleep and act for ever; tell of each time that both took longer than the pause."""
    while True:
        began = now_ms() + round(pause * 1000)
        time.sleep(pause)
        act()
        if (ended := now_ms()) - began > LEAST_MS:
            tell(Span(began, ended))


def write_page(file: Path) -> None:
    """What a door does at worst: write a little, and wait until the disk has it. A full disk is no stall."""
    with suppress(OSError), file.open("wb", buffering=0) as opened:
        opened.write(os.urandom(PAGE_BYTES))
        os.fdatasync(opened.fileno())


def overlap_ms(stalls: Iterable[Span], begin: int, end: int) -> int:
    """How much of a time the machine stood still."""
    total, reached = 0, begin
    for stall in sorted(stalls):
        first, last = max(stall.begin, reached), min(stall.end, end)
        if first < last:
            total, reached = total + last - first, last
    return total


def read_stalls(log: Path) -> list[Span]:
    """The stalls of a log; the last line may be cut."""
    return [Span(*json.loads(line)) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def main(arguments: Sequence[str]) -> int:
    """Measure with a file on the disk in question, and append to a log; both are arguments."""
    file, log = map(Path, arguments)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with log.open("ab", buffering=0) as opened:

        def tell(stall: Span) -> None:
            opened.write(f"{json.dumps(stall)}\n".encode())

        for act, pause in ((lambda: None, TIMER_SECONDS), (lambda: write_page(file), DISK_SECONDS)):
            threading.Thread(target=measure, args=(act, pause, tell), daemon=True).start()
        signal.sigwait({signal.SIGTERM})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
