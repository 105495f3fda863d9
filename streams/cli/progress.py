"""A bar on standard error for long work: how far it is, how fast, how long it still takes.

Only on a terminal; in a file or a pipe there is none.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from streams.cli.screen import message_console
from streams.operations.progress import SILENT, Progress
from streams.visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

_DRAWN_SECONDS: Final = 0.1
_CHUNK_BYTES: Final = 1 << 20
_EXIT_TERMINATED: Final = 143


class _Bar:
    """The bar of one work; a step follows the other in it."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task: Any = None
        self._done = 0
        self._drawn_at = 0.0

    def begin(self, step: str, total: int | None = None) -> None:
        """See `Progress`."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._done = 0
        self._task = self._bars.add_task(visible(step), total=total)

    def advance(self, records: int = 1) -> None:
        """See `Progress`."""
        self._done += records
        now = time.monotonic()
        if now - self._drawn_at >= _DRAWN_SECONDS:
            self._drawn_at = now
            self._bars.update(self._task, completed=self._done)

    def reach(self, done: int, total: int | None = None) -> None:
        """See `Progress`."""
        self._done = done
        self._bars.update(self._task, completed=done, total=total)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar as long as the block lasts; messages come out above it, and nothing of it is left behind."""
    console = message_console()
    if console is None:
        yield SILENT
        return
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            of = f"/{int(task.total):,}" if task.total is not None else ""
            return Text(f"{int(task.completed):,}{of}")

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        Count(),
        Speed(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bars(*columns, console=console, transient=True, redirect_stdout=False) as bars, _ending_in_order():
        yield _Bar(bars)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM ends the process by way of its blocks, which show the cursor again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_: int, __: FrameType | None) -> None:
        sys.exit(_EXIT_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def count_lines(path: Path) -> int:
    """How many lines a file has.

    Raises:
        OSError: it cannot be read.
    """
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")
