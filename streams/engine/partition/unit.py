"""One unit of work: what is computed, and then committed, together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Self

from streams.engine.config import PartitionConfig
from streams.engine.partition.view import StateView
from streams.engine.ports import StateStore

MARKER = b"\0source-offset"
"""State row: the last source offset that the state contains; travels in the changelog."""
MERGED_MARKER = b"\0side-offset"
"""State row: the last offset of the merged topic that the state contains."""


class Stopwatch(AbstractContextManager["Stopwatch"]):
    """Adds up how long what stands in its `with` blocks takes; `began_ns` is the wall clock when it began."""

    __slots__ = ("_began", "began_ns", "seconds")

    def __init__(self) -> None:
        self.seconds = self._began = 0.0
        self.began_ns = 0

    def __enter__(self) -> Self:
        self.began_ns = self.began_ns or time.time_ns()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began


class UnitOfWork:
    """The view that is filled, and the last offset done of each input.

    `deciding` measures what the processor takes. `ticked_to` is the moment up to which timers fired in it when nothing
    was left to read. `age_seconds` is how old its first record of the source was when it was taken, 0 without one.
    """

    def __init__(
        self,
        config: PartitionConfig,
        partition: int,
        store: StateStore,
        uncommitted: Mapping[bytes, bytes | None],
    ) -> None:
        self.view = StateView(store, uncommitted, partition)
        self.done: dict[str, int] = {}
        self.records = 0
        self.deciding = Stopwatch()
        self.ticked_to: int | None = None
        self.age_seconds = 0.0
        self._config = config

    @property
    def is_full(self) -> bool:
        """Whether it should be committed before anything else is done."""
        config = self._config
        return self.view.is_full or self.records >= config.unit_records or self.deciding.seconds >= config.unit_seconds

    @property
    def has_work(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.done or self.view.changes or self.view.outputs)

    def rows(self) -> dict[bytes, bytes | None]:
        """The changed state, the markers last."""
        rows = dict(self.view.changes)
        for topic, row in ((self._config.merged, MERGED_MARKER), (self._config.source, MARKER)):
            if topic in self.done:
                rows[row] = b"%d" % self.done[topic]
        return rows
