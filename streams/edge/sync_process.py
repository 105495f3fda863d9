"""The composition root of sync: its clients of Kafka, made from the settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from streams.clock import wall_clock_ms
from streams.edge.probes import probes_of
from streams.edge.process import run_process
from streams.edge.sync.app import Sync
from streams.edge.sync.status import SyncStatus
from streams.edge.sync_metrics import SyncMetrics, not_ready_because
from streams.failpoints import failpoints
from streams.kafka.security import cluster_of
from streams.settings.edge import EdgeSettings
from streams.telemetry.probes import Heartbeat, Probe
from streams.wire.registry import registry_of


def run_sync(settings: EdgeSettings) -> int:
    """Move verdicts and events between disk and Kafka until SIGTERM; returns the exit code."""
    return run_process(
        settings, lambda version: SyncProcess(settings, version), ("TES_EDGE_SYNC_PORT", settings.sync_port)
    )


class SyncProcess:
    """Sync with what it shows of itself; see `process.EdgeProcess`."""

    name = "sync"

    def __init__(self, settings: EdgeSettings, version: str) -> None:
        self._sync = Sync(
            cluster_of(settings),
            registry_of(settings),
            settings.folder,
            topic=settings.topic,
            failpoint=failpoints(settings.crash_at),
        )
        self._metrics = SyncMetrics(version, self._sync.status, wall_clock_ms)
        self._running: asyncio.Task[None] | None = None

    def probes(self, heartbeat: Heartbeat) -> Mapping[str, Probe]:
        """See `process.EdgeProcess`."""
        return probes_of(lambda: self._running is not None, self._readyz, heartbeat)

    def metrics_page(self) -> bytes:
        """See `process.EdgeProcess`."""
        return self._metrics.page()

    def event_logged(self, name: str) -> None:
        """See `process.EdgeProcess`."""
        self._metrics.events.labels(name).inc()

    async def start(self) -> None:
        """Begin; Kafka need not be there."""
        # It logs every attempt. The part of sync that fails logs each reason once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._running = asyncio.create_task(self._sync.run())

    async def tick(self) -> None:
        """Raise what ended it, as nothing should."""
        if self._running is not None and self._running.done():
            await self._running

    async def stop(self) -> None:
        """End it; what it has not finished is still on disk."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._running

    def _readyz(self) -> tuple[bool, Mapping[str, Any]]:
        status = self._sync.status()
        why = not_ready_because(status, wall_clock_ms())
        return why is None, {"ready": why is None, "why": why, **_shown(status)}


def _shown(status: SyncStatus) -> dict[str, Any]:
    return {
        "confirmed_at": status.confirmed_at,
        "complete_at": status.complete_at,
        "loading": status.is_loading,
        "signs_of_life": {str(number): moment for number, moment in status.signs.items()},
        "input_partitions": status.inputs,
        "spool": {"events": status.waiting.events, "bytes": status.waiting.bytes},
        "failures": dict(status.failures),
    }
