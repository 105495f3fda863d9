"""What Faust runs in a worker: the agent on the connections topic, and the tasks beside the partitions."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

from streams.engine.faust.app import BatchApp
from streams.engine.faust.transport import BatchSchema
from streams.engine.faust.watchdog import run_watchdog
from streams.engine.telemetry import Telemetry
from streams.log_events import log_event
from streams.worker.policies import PoliciesInForce

log = logging.getLogger(__name__)

READY_SECONDS = 0.2
"""Between two looks whether all partitions are restored."""
SWITCH_SECONDS = 1.0
"""Between two looks whether another policy or catalogue is in force."""
REPLAY_SECONDS = 0.2
"""Between two looks whether a replay is over."""


async def connections(stream: Any) -> None:
    """The agent of the connections topic: hands each fetched batch to its partition, which decides and commits.

    An event is a batch as `BatchConsumer` delivered it, not a record. It is acknowledged once its partition has queued
    it; offsets are committed by the partition's transactions, never by Faust.
    """
    app: BatchApp = stream.app
    async for batch in stream.noack().events():
        app.enqueue(batch)
        await stream.ack(batch)


def add_agents(app: BatchApp) -> None:
    """Subscribe the worker to the connections topic."""
    app.agent(app.topic(app.source, schema=BatchSchema()), name="connections")(connections)


class ReadyLog:
    """One line each time that all partitions of an assignment are processed."""

    def __init__(self) -> None:
        self._generation = 0

    def look(self, app: BatchApp) -> None:
        """Log it, once for each assignment."""
        if app.generation == self._generation or not app.is_assigned or app.is_draining:
            return
        if all(writer.is_ready for writer in app.writers.values()):
            self._generation = app.generation
            partitions = sorted(app.writers)
            shown = f"partitions {partitions} of {app.source}" if partitions else "no partition is left for it"
            log.info("worker ready: %s", shown, extra=log_event("worker_ready", partitions=partitions))


def add_tasks(app: BatchApp, policies: PoliciesInForce, stall_seconds: float, telemetry: Telemetry) -> None:
    """Run the watchdog and follow the policies, as long as the worker runs."""

    @app.task  # type: ignore[untyped-decorator]
    async def watchdog() -> None:
        await run_watchdog(app, stall_seconds, telemetry.watchdog_looked)

    @app.task  # type: ignore[untyped-decorator]
    async def follow_policies() -> None:
        try:
            await policies.follow()
        except Exception as error:  # noqa: BLE001 - any failure ends the worker
            app.fail(error)

    ready = ReadyLog()

    @app.timer(READY_SECONDS)  # type: ignore[untyped-decorator]
    async def log_ready() -> None:
        ready.look(app)

    @app.timer(SWITCH_SECONDS)  # type: ignore[untyped-decorator]
    async def log_switches() -> None:
        policies.log_switches()


def add_end_of_replay(app: BatchApp) -> None:
    """End the worker once every partition has read all its records and fired its timers."""

    @app.timer(REPLAY_SECONDS)  # type: ignore[untyped-decorator]
    async def end_of_replay() -> None:
        writers = app.writers.values()
        if writers and all(writer.ticked_to is not None for writer in writers):
            os.kill(os.getpid(), signal.SIGTERM)
