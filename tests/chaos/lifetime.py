"""Until when a process lived for certain, however late its end is noticed."""

from __future__ import annotations

import os
import threading
import time
from typing import Final

WATCH_SECONDS: Final = 0.02
_EXITING: Final = 0x4
"""PF_EXITING of Linux: a process has it before its files and sockets are closed."""


class Lifetime:
    """Watches a process from a thread of its own.

    The loop that plays scenarios stands still while another one starts a process: for a second or more where the
    machine is busy, so it may hear of an end so much later.
    """

    def __init__(self, pid: int, since: int) -> None:
        """Watch a process that was started behind `since` (UTC milliseconds), until it ends."""
        self.alive_at = since
        """A moment (UTC milliseconds) at which it lived; once it has ended, the last one that is known."""
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until its end was seen."""
        self._thread.join()

    def _watch(self, pid: int) -> None:
        try:
            stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            while True:
                now = time.time_ns() // 1_000_000  # before it is looked: an end in between is not passed over
                if not _lives(stat):
                    return
                self.alive_at = now
                time.sleep(WATCH_SECONDS)
        finally:
            os.close(stat)


def _lives(stat: int) -> bool:
    try:
        content = os.pread(stat, 4096, 0)
    except ProcessLookupError:
        return False
    fields = content.rpartition(b")")[2].split()
    return fields[0] not in (b"Z", b"X") and not int(fields[6]) & _EXITING
