"""What processes cost, read from the kernel: CPU, memory, and how busy everyone else was. Linux only."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PER_PROCESS_SCHED = 2
"""The kernel's clock of all threads of a process, ended ones included, in nanoseconds (see clock_getcpuclockid)."""


def cpu_seconds(pid: int) -> float:
    """User and system time of one process.

    Raises:
        ProcessLookupError: it is gone.
    """
    try:
        return time.clock_gettime((~pid << 3) | _PER_PROCESS_SCHED)
    except OSError:
        raise ProcessLookupError(pid) from None


def tree(pid: int) -> list[int]:
    """A process and all that descends from it."""
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        for children in (_PROC / str(found[-1]) / "task").glob("*/children"):
            try:
                left += map(int, children.read_text().split())
            except OSError:
                continue  # the thread ended meanwhile
    return found


def peak_rss_mib(pid: int) -> float:
    """The most resident memory that a process ever had; 0 when it is gone."""
    try:
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def busy_seconds() -> float:
    """CPU time that all processes of this machine used since it started, stolen time included."""
    columns = list(map(int, (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:]))
    idle, waiting = columns[3], columns[4]
    return (sum(columns[:8]) - idle - waiting) / _TICKS


@dataclass(frozen=True, slots=True)
class Sample:
    """What was known at one moment; times and CPU in seconds, `events` committed so far."""

    at: float
    events: int
    engine: float
    broker: float
    busy: float
    own: float


class Meter:
    """CPU of an engine's processes and of the broker; a process that ended keeps its last figure."""

    def __init__(self, engine: Sequence[int], broker: int) -> None:
        self._roots, self._broker = list(engine), broker
        self._cpu: dict[int, float] = {}
        self._rss: dict[int, float] = {}

    def sample(self, events: int) -> Sample:
        """Read everything now."""
        for root in self._roots:
            for pid in tree(root):
                try:
                    self._cpu[pid] = cpu_seconds(pid)
                except ProcessLookupError:
                    continue
        return Sample(
            time.time(), events, sum(self._cpu.values()), cpu_seconds(self._broker), busy_seconds(), time.process_time()
        )

    def peak_rss_mib(self) -> float:
        """The sum of the processes' peaks; read it while they live."""
        for pid in self._cpu:
            self._rss[pid] = max(self._rss.get(pid, 0.0), peak_rss_mib(pid))
        return sum(self._rss.values())


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an engine was: events processed, at which moment, with how much CPU."""

    at: float
    events: int
    cpu: float


def interpolate(keys: Sequence[float], values: Sequence[float], key: float) -> float:
    """The value at `key` on the line through the points; the first or last value outside of them."""
    right = bisect_left(keys, key)
    if right == 0:
        return values[0]
    if right == len(keys):
        return values[-1]
    left = right - 1
    share = (key - keys[left]) / (keys[right] - keys[left])
    return values[left] + share * (values[right] - values[left])
