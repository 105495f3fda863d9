"""The process that tells people: signals, log, probes, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Final

import uvloop
from sqlalchemy.exc import SQLAlchemyError

from streams.clock import wall_clock_ms
from streams.database.database import ALL_TENANTS, Database, DatabaseError, with_address
from streams.failpoints import failpoints
from streams.garbage import tune_gc
from streams.kafka.secret_files import secrets_of
from streams.kafka.security import cluster_of
from streams.kafka.timing import Timing
from streams.kafka.topics import TOPICS
from streams.listening import Listener, listen
from streams.log_events import log_event
from streams.notices.facts import begin, link_key
from streams.notices.model import Channel, DestinationKind
from streams.notices.opening import open_ledger
from streams.notify.bounces.listener import Bounces
from streams.notify.channels_in_use import ChannelsInUse
from streams.notify.contacts import Contacts
from streams.notify.decoding import SCHEMA, Decoder
from streams.notify.intake import Intake
from streams.notify.lanes import Lanes
from streams.notify.metrics import NotifyMetrics
from streams.notify.recording import Recorder
from streams.notify.sending import Sender
from streams.notify.status import DATABASE, Status, not_ready_because
from streams.notify.telling import Teller
from streams.notify.upkeep import analyze, count, expire, prune
from streams.settings.notify import NotifySettings
from streams.telemetry.logs import configure_logs
from streams.telemetry.probes import LIVE, READY, STARTED, Heartbeat, Page, Probe, ProbeServer
from streams.telemetry.prometheus import CONTENT_TYPE
from streams.wire.registry import registry_of

log = logging.getLogger(__name__)

EXIT_REFUSED: Final = 2
"""It could not start: what it was given is refused."""
EXIT_FAILED: Final = 70
LOOP_SECONDS: Final = 15.0
"""A loop that moves beats about once a second."""
TICK_SECONDS: Final = 1.0
COUNT_SECONDS: Final = 15.0
PRUNE_SECONDS: Final = 3600.0
END_SECONDS: Final = 20.0
"""So long what is being sent may take when the process is to end; the rest is sent again under its id."""
_RETRY_SECONDS: Final = 2.0
_LMTP_MODE: Final = 0o666


def run_notify(settings: NotifySettings) -> int:
    """Tell people until SIGTERM or SIGINT; returns the exit code."""
    configure_logs(settings.log_format, secrets_of(settings), lambda _: None)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = with_address(settings)
        database = open_ledger(settings)
        process = NotifyProcess(settings, database, ChannelsInUse(settings), version("tes"))
    except (SQLAlchemyError, ValueError) as error:
        return _refused(str(error))
    configure_logs(settings.log_format, secrets_of(settings), process.event_logged)
    about = log_event("notify_started", version=version("tes"), database=database.kind)
    log.info("notify %s starting on %s", version("tes"), database.kind, extra=about)
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        exit_code = runner.run(process.run())
    # Its loop, which handled signals, is closed: being told to end once more would take the exit code away.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    database.close()
    log.info("notify exiting with code %d", exit_code, extra=log_event("notify_ended", exit_code=exit_code))
    return exit_code


def _refused(why: str) -> int:
    log.critical("notify failed to start: %s", why, extra=log_event("notify_not_started", why=why))
    return EXIT_REFUSED


class NotifyProcess:
    """Intake and sender with what they show of themselves."""

    def __init__(
        self,
        settings: NotifySettings,
        database: Database,
        channels: ChannelsInUse,
        product_version: str,
    ) -> None:
        """Compose it from the settings."""
        self._settings, self._database, self._channels = settings, database, channels
        self.status = Status()
        self._metrics = NotifyMetrics(
            product_version, self.status, wall_clock_ms, lambda: self._channels.template_failures
        )
        self._told = Teller(self.status)
        self._heartbeat, self._is_started = Heartbeat(LOOP_SECONDS), False
        self._lmtp: Listener | None = None

    def event_logged(self, name: str) -> None:
        """A named event was logged."""
        self._metrics.events.labels(name).inc()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns the exit code."""
        # It writes a line for every attempt; each failure is told once, with its reason, by what it failed for.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        server = ProbeServer(self._probes(), Page(self._metrics.page, CONTENT_TYPE))
        try:
            await self._start(server)
        except (OSError, ValueError, DatabaseError) as error:
            await server.stop()
            return _refused(str(error))
        working = asyncio.create_task(self._work(stopping))
        exit_code = 0
        try:
            while not stopping.is_set():
                self._heartbeat.beat()
                if working.done():
                    await working
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), TICK_SECONDS)
            await working
        except Exception:
            log.critical("notify failed", exc_info=True, extra=log_event("notify_failed"))
            exit_code = EXIT_FAILED
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await server.stop()
        return exit_code

    async def _start(self, server: ProbeServer) -> None:
        """Listen, and look whether the tables are usable; a database that does not answer is waited for later."""
        if port := self._settings.port:
            try:
                await server.start(self._settings.web_host, port)
            except OSError as error:
                where = f"TES_NOTIFY_PORT: {port}: TES_NOTIFY_WEB_HOST {self._settings.web_host}"
                raise OSError(error.errno, f"{where}: {error.strerror or error}") from None
        if (address := self._settings.lmtp_address) is not None:
            # Whoever may enter its folder may connect: what it takes has to name a destination.
            self._lmtp = listen(address, _LMTP_MODE)
        with suppress(SQLAlchemyError):
            await asyncio.to_thread(self._database.migrate)
        for kind in DestinationKind:
            if kind not in self._channels.kinds:
                about = log_event("notify_channel_missing", kind=str(kind))
                log.warning("%s: nothing is set up that reaches such destinations", kind, extra=about)
        self._is_started = True

    async def _work(self, stopping: asyncio.Event) -> None:
        """Have the tables, then read and send until it is time to end."""
        key = await self._prepare(stopping)
        if key is not None:
            bounces = Bounces(self._database, self._settings.bounce_domain, self.status, wall_clock_ms)
            async with self._channels.opened(key) as channels, bounces.taken(self._lmtp):
                await self._work_with(channels, stopping)

    async def _work_with(self, channels: Mapping[DestinationKind, Channel], stopping: asyncio.Event) -> None:
        settings, failpoint, timing = self._settings, failpoints(self._settings.crash_at), Timing()
        cluster, registry = cluster_of(settings), registry_of(settings)
        contacts = Contacts(cluster, settings.topic(TOPICS["connector"]), registry, timing, self._told)
        recorder = Recorder(self._database, contacts.of, settings.group_above, wall_clock_ms, failpoint)
        decoder = Decoder(registry, patience=timing.schema)
        topic = settings.topic(TOPICS[SCHEMA])
        intake = Intake(
            cluster,
            topic,
            decoder,
            recorder,
            self._database,
            contacts,
            self.status,
            timing=timing,
            clock=wall_clock_ms,
            failpoint=failpoint,
        )
        owner = f"{socket.gethostname()}/{os.getpid()}"
        chance = random.SystemRandom().random
        sender = Sender(
            Lanes(self._database, owner, settings.group_above, wall_clock_ms, chance, failpoint),
            channels,
            self.status,
            in_flight=settings.in_flight,
            clock=wall_clock_ms,
            failpoint=failpoint,
        )
        sender.observe = self._metrics.observe
        tasks = [asyncio.create_task(one) for one in (contacts.run(), intake.run(), sender.run(), self._keep())]
        ending = asyncio.create_task(stopping.wait())
        try:
            done, _ = await asyncio.wait({*tasks, ending}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
            await sender.end(END_SECONDS)
        finally:
            for task in (*tasks, ending):
                task.cancel()
            await asyncio.gather(*tasks, ending, return_exceptions=True)

    async def _prepare(self, stopping: asyncio.Event) -> bytes | None:
        """Have the tables; a database that does not answer is waited for.

        Returns the key of links; None where it is time to end.
        """
        while not stopping.is_set():
            try:
                await asyncio.to_thread(self._database.migrate)
                await asyncio.to_thread(begin, self._database, wall_clock_ms())
                key = await asyncio.to_thread(self._link_key)
            except (SQLAlchemyError, OSError) as error:
                self._told.failed(DATABASE, error)
            else:
                self._told.works(DATABASE)
                return key
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _RETRY_SECONDS)
        return None

    def _link_key(self) -> bytes:
        with self._database.reading(ALL_TENANTS) as connection:
            return link_key(connection)

    async def _keep(self) -> None:
        """Count what the ledger holds from time to time, and have what is too old go."""
        pruned_at = float("-inf")
        while True:
            try:
                now = wall_clock_ms()
                self.status.ledger = await asyncio.to_thread(count, self._database, now)
                self.status.answered_at = now
                if self.status.has_lease and time.monotonic() - pruned_at > PRUNE_SECONDS:
                    pruned_at = time.monotonic()
                    self.status.expired += await asyncio.to_thread(expire, self._database, now)
                    await asyncio.to_thread(prune, self._database, now, self._settings.history_days)
                    await asyncio.to_thread(analyze, self._database)
            except (SQLAlchemyError, OSError) as error:
                self._told.failed(DATABASE, error)
            await asyncio.sleep(COUNT_SECONDS)

    def _probes(self) -> Mapping[str, Probe]:
        def live() -> tuple[bool, Mapping[str, Any]]:
            return self._heartbeat.is_alive, {"alive": self._heartbeat.is_alive}

        def started() -> tuple[bool, Mapping[str, Any]]:
            return self._is_started, {"started": self._is_started}

        return {LIVE: live, STARTED: started, READY: self._readyz}

    def _readyz(self) -> tuple[bool, Mapping[str, Any]]:
        status = self.status
        why = not_ready_because(status, wall_clock_ms())
        return why is None, {
            "ready": why is None,
            "why": why,
            "state": str(status.state),
            "has_lease": status.has_lease,
            "current_at": status.current_at,
            "lag": status.lag,
            "failures": dict(status.failures),
            "away": {str(kind): reason for kind, reason in status.away.items()},
            "in_flight": status.in_flight,
            "unreadable": status.unreadable,
        }
