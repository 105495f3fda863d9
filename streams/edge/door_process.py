"""The composition root of the door: its files, its connectors, its servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from streams.clock import wall_clock_ms
from streams.domain.edge import trust_in
from streams.domain.server.connection import InboundConnection
from streams.edge.connectors.running import RunningConnectors
from streams.edge.door import Door
from streams.edge.door_metrics import HTTP, MILTER, DoorStatus
from streams.edge.failpoints import FailingSpool
from streams.edge.http.server import HttpServer
from streams.edge.milter.server import MilterServer
from streams.edge.probes import TRUSTED, door_readyz, probes_of
from streams.edge.process import run_process
from streams.edge.store.journaled import JournaledSpool
from streams.edge.store.spool import SpoolWriter
from streams.edge.store.verdicts import VerdictReader
from streams.edge.telemetry import DoorTelemetry
from streams.failpoints import failpoints
from streams.log_events import log_event
from streams.settings.edge import EdgeSettings
from streams.telemetry.probes import Heartbeat, Probe
from streams.wire.codec import MAX_VALUE_BYTES, AvroCodec
from streams.wire.records import to_record
from streams.wire.registry import LocalRegistry

log = logging.getLogger(__name__)


def run_door(settings: EdgeSettings) -> int:
    """Answer MTAs until SIGTERM; returns the exit code."""
    return run_process(
        settings, lambda version: DoorProcess(settings, version), ("TES_EDGE_DOOR_PORT", settings.door_port)
    )


def event_encoder() -> Callable[[InboundConnection], bytes]:
    """A function that encodes an event, with the header of the shipped registry, which sync replaces by its own."""
    codec = AvroCodec("inbound_connection", LocalRegistry(), is_checked=False)
    encoder = codec.tuple_encoder(InboundConnection._fields)

    def encode(event: InboundConnection) -> bytes:
        try:
            if len(value := encoder.encode(event)) <= MAX_VALUE_BYTES:
                return value
        except (TypeError, ValueError, KeyError):
            pass
        return codec.encode(to_record(event))  # which names what is wrong

    return encode


class DoorProcess:
    """The door with its files, its connectors and its servers; see `process.EdgeProcess`."""

    name = "door"

    def __init__(self, settings: EdgeSettings, version: str, clock: Callable[[], int] = wall_clock_ms) -> None:
        """Build it; `clock` returns UTC milliseconds."""
        self._settings, self._clock = settings, clock
        self._verdicts = VerdictReader(settings.folder)
        self._telemetry = DoorTelemetry(version, self.status)
        self._spool = JournaledSpool(
            settings.folder,
            SpoolWriter(settings.folder, settings.spool_bytes),
            lambda seconds, store: asyncio.get_running_loop().call_later(seconds, store),
            self._telemetry.event_lost,
            failpoint=failpoints(settings.crash_at),
        )
        file = Path(settings.connectors) if settings.connectors else None
        refused = self._telemetry.metrics.connectors_refused.inc
        self._connectors = RunningConnectors(file, self._verdicts, refused)
        door = Door(
            self._connectors,
            self._verdicts,
            FailingSpool(self._spool, failpoints(settings.crash_at)) if settings.crash_at else self._spool,
            event_encoder(),
            self._telemetry,
            host=settings.host_name,
            is_enforcing=settings.is_enforcing,
            adds_header=settings.add_header,
            limits=settings.limits,
            clock=clock,
        )
        self._milter = MilterServer(door, self._telemetry.of_milter)
        self._http = HttpServer(door, self._telemetry.of_http)
        self._not_ready_because: str | None = "starting"

    def probes(self, heartbeat: Heartbeat) -> Mapping[str, Probe]:
        """See `process.EdgeProcess`."""
        return probes_of(lambda: self._not_ready_because != "starting", lambda: door_readyz(self.status()), heartbeat)

    def metrics_page(self) -> bytes:
        """See `process.EdgeProcess`."""
        return self._telemetry.metrics.page()

    def event_logged(self, name: str) -> None:
        """See `process.EdgeProcess`."""
        self._telemetry.metrics.events.labels(name).inc()

    async def start(self) -> None:
        """Open the files, read the connectors, and listen.

        Raises:
            ConnectorsError: the file of connectors is refused.
            ListenError: an address cannot be listened on.
        """
        self._verdicts.open()
        self._spool.open()
        self._connectors.start()
        self._telemetry.trust_seen(self.status().trust)
        mode = int(self._settings.milter_mode, 8)
        for name, server, address in (
            (MILTER, self._milter, self._settings.milter_address),
            (HTTP, self._http, self._settings.http_address),
        ):
            if address is not None:
                await server.start(address, mode)
                about = log_event("door_listening", door=name, address=str(address), mode=self._settings.mode)
                log.info("%s listens on %s (%s)", name, address, self._settings.mode, extra=about)
        self._not_ready_because = None

    async def tick(self) -> None:
        """Look at what sync wrote, and at the connectors."""
        try:
            self._verdicts.poll()
            await self._connectors.poll()
            self._telemetry.trust_seen(self.status().trust)
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._telemetry.failed("tick", error)

    async def stop(self) -> None:
        """Stop listening, answer the messages under way, and close the files."""
        self._not_ready_because = "draining"
        await asyncio.gather(self._milter.stop(), self._http.stop())
        self._spool.close()
        self._verdicts.close()

    def status(self) -> DoorStatus:
        """The present status of the door."""
        now, knowledge, alive_at = self._clock(), self._verdicts.knowledge, self._verdicts.sync_alive_at
        trust = trust_in(knowledge, now, self._settings.limits)
        events, size = self._spool.waiting()
        return DoorStatus(
            not_ready_because=self._not_ready_because or (None if trust in TRUSTED else trust.value.lower()),
            trust=trust,
            knowledge_age=_seconds_since(knowledge.confirmed_at, now),
            clock_skew=knowledge.clock_skew / 1000,
            sync_age=_seconds_since(alive_at, now),
            spool_events=events,
            spool_bytes=size,
            dropped=self._spool.dropped,
            connectors=self._connectors.counts,
            connector_errors=tuple(self._connectors.errors[:10]),
        )


def _seconds_since(moment: int | None, now: int) -> float | None:
    return None if moment is None else max(0, now - moment) / 1000
