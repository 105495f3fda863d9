"""Faust's worker process, from its start to its end by a signal."""

from __future__ import annotations

import logging
import os
import signal
import threading

from faust.worker import Worker

from streams.engine.deadlines import LEAVE_SECONDS
from streams.engine.faust.app import EXIT_FAILED, BatchApp
from streams.log_events import log_event

log = logging.getLogger(__name__)


class BatchWorker(Worker):
    """Faust's worker process; a shutdown request is recorded before anything stops."""

    app: BatchApp

    def _on_sigterm(self) -> None:
        self._drain(signal.SIGTERM)
        super()._on_sigterm()

    def _on_sigint(self) -> None:
        self._drain(signal.SIGINT)
        super()._on_sigint()

    async def _sentinel_task(self) -> None:
        """Return at once; Faust's own sleeps a second, during which nobody owns the partitions."""

    def _drain(self, which: signal.Signals) -> None:
        if self.app.is_draining:
            return
        self.app.is_draining = True
        log.info(
            "%s: shutting down, finishing the work in progress",
            which.name,
            extra=log_event("worker_draining", signal=which.name),
        )
        # Without a broker the worker cannot leave the group, and Faust would wait for one forever.
        seconds = self.app.partition_config.drain_seconds + LEAVE_SECONDS
        timer = threading.Timer(seconds, _force_exit, [seconds])
        timer.daemon = True
        timer.start()


def _force_exit(seconds: float) -> None:
    about = log_event("worker_failed", reason="shutdown timed out")
    log.critical("shutdown timed out after %.0f s; uncommitted work is left to the next owner", seconds, extra=about)
    os._exit(EXIT_FAILED)
