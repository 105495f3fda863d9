"""Signs of life: a record for each partition that says how far its worker is.

An edge believes in verdicts only while every input partition has a worker. Signs come from the partition's own units
of work, and from nothing beside them. A partition that stalls, or has records to read and gets none, gives no sign.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from streams.domain.outputs.progress import PartitionProgress
from streams.domain.policy.rulebook import Rulebook
from streams.engine.partition.view import StateView
from streams.engine.ports import Output
from streams.wire.records import to_record
from streams.worker.channels import Codec

SHARED_SECONDS: Final = 20.0
"""How old the last sign is before a unit of work that is committed anyway takes another one along."""
ALONE_SECONDS: Final = 50.0
"""How old it is before a unit is committed for its sake, at the end of the input: so that there is one every minute."""


class SignsOfLife:
    """The signs of one partition; the first unit of work has one."""

    def __init__(
        self,
        topic: str,
        codec: Codec,
        app_id: str,
        worker_version: str,
        now: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Give signs of one worker's partition.

        Args:
            topic: where they are written.
            codec: of `PartitionProgress`.
            app_id: the worker's application.
            worker_version: the version of its program.
            now: the wall clock, UTC milliseconds.
            monotonic: a clock that nobody sets, seconds.
        """
        self._topic, self._codec = topic, codec
        self._app_id, self._worker_version = app_id, worker_version
        self._now, self._monotonic = now, monotonic
        self._written_at: float | None = None

    def finish(
        self, view: StateView, rulebook: Rulebook, stream_time: int, *, has_records: bool, is_caught_up: bool
    ) -> None:
        """Add a sign to a unit that ends, if one is due.

        Args:
            view: of the unit.
            rulebook: what is decided by.
            stream_time: the latest moment of a record, UTC milliseconds; 0 before any.
            has_records: whether the unit took any.
            is_caught_up: whether nothing was left to read.
        """
        if has_records or view.changes or view.outputs:
            least = SHARED_SECONDS
        elif is_caught_up:
            least = ALONE_SECONDS
        else:
            return
        at = self._monotonic()
        if self._written_at is not None and at - self._written_at < least:
            return
        self._written_at = at
        self._write(view, rulebook, stream_time)

    def _write(self, view: StateView, rulebook: Rulebook, stream_time: int) -> None:
        now = self._now()
        policy = rulebook.policy_at(now)
        progress = PartitionProgress(
            partition=view.partition,
            stream_time=stream_time or None,
            wall_clock=now,
            policy_id=policy.policy_id,
            policy_version=policy.version,
            worker_version=self._worker_version,
            app_id=self._app_id,
        )
        view.emit(Output(self._topic, b"%d" % view.partition, self._codec.encode(to_record(progress))))
