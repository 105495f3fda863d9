"""A process of the report: signals, log, probes, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Final

import uvloop
from sqlalchemy.exc import SQLAlchemyError

from streams.clock import wall_clock_ms
from streams.database.database import Database, DatabaseError, with_address
from streams.failpoints import failpoints
from streams.garbage import tune_gc
from streams.kafka.secret_files import secrets_of
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.log_events import log_event
from streams.report.access.wiring import access_of
from streams.report.metrics import ReportMetrics
from streams.report.reading.reader import Reader
from streams.report.reading.status import not_ready_because, not_serving_because
from streams.report.serving import Serving
from streams.report.store.opening import open_database
from streams.report.watching import DatabaseWatch
from streams.settings.report import ReportSettings
from streams.telemetry.logs import configure_logs
from streams.telemetry.probes import LIVE, READY, SERVING, STARTED, Heartbeat, Page, Probe, ProbeServer
from streams.telemetry.prometheus import CONTENT_TYPE
from streams.wire.registry import registry_of

log = logging.getLogger(__name__)

EXIT_REFUSED: Final = 2
"""It could not start: what it was given is refused."""
EXIT_FAILED: Final = 70
LOOP_SECONDS: Final = 15.0
"""A loop that moves beats about once a second."""
TICK_SECONDS: Final = 1.0


def run_report(settings: ReportSettings) -> int:
    """Keep the tables current until SIGTERM or SIGINT; returns the exit code."""
    configure_logs(settings.log_format, secrets_of(settings), lambda _: None)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = with_address(settings)
        database = open_database(settings)
        access = access_of(settings)
        serving = None if access is None else Serving(settings, database, access)
        process = ReportProcess(settings, database, serving, version("tes"))
    except (SQLAlchemyError, ValueError) as error:
        return _refused(str(error))
    configure_logs(settings.log_format, secrets_of(settings), process.event_logged)
    about = log_event("report_started", version=version("tes"), database=database.kind)
    log.info("report %s starting on %s", version("tes"), database.kind, extra=about)
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        exit_code = runner.run(process.run())
    # Its loop, which handled signals, is closed: being told to end once more would take the exit code away.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    database.close()
    log.info("report exiting with code %d", exit_code, extra=log_event("report_ended", exit_code=exit_code))
    return exit_code


def _refused(why: str) -> int:
    log.critical("report failed to start: %s", why, extra=log_event("report_not_started", why=why))
    return EXIT_REFUSED


class ReportProcess:
    """The reader with what it shows of itself, and what serves callers beside it, if anything does."""

    def __init__(
        self, settings: ReportSettings, database: Database, serving: Serving | None, product_version: str
    ) -> None:
        """Compose it from the settings.

        Raises:
            ValueError: the settings do not allow it; the message says why.
        """
        self._settings, self._database, self._serving = settings, database, serving
        self._reader = Reader(
            cluster_of(settings),
            registry_of(settings),
            database,
            topic=lambda name: settings.topic(TOPICS[name]),
            history_days=settings.history_days,
            failpoint=failpoints(settings.crash_at),
        )
        self._watch = DatabaseWatch(database, lambda: self._reader.status, wall_clock_ms)
        self._metrics = ReportMetrics(product_version, lambda: self._reader.status, wall_clock_ms)
        self._heartbeat = Heartbeat(LOOP_SECONDS)
        self._is_started = False

    def event_logged(self, name: str) -> None:
        """A named event was logged."""
        self._metrics.events.labels(name).inc()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns the exit code."""
        # It writes a line for every attempt; each failure is told once, with its reason, by what it failed for.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        server = ProbeServer(self._probes(), Page(self._metrics.page, CONTENT_TYPE))
        try:
            await self._start(server)
        except (OSError, ValueError, DatabaseError) as error:
            await self._stop_serving()
            await server.stop()
            return _refused(str(error))
        tasks = [asyncio.create_task(self._reader.run()), asyncio.create_task(self._watch.run())]
        exit_code = 0
        try:
            while not stopping.is_set():
                self._heartbeat.beat()
                for task in tasks:
                    if task.done():
                        await task
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), TICK_SECONDS)
        except Exception:
            log.critical("report failed", exc_info=True, extra=log_event("report_failed"))
            exit_code = EXIT_FAILED
        await self._stop_serving()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()
        return exit_code

    async def _stop_serving(self) -> None:
        if self._serving is not None:
            await self._serving.stop()

    async def _start(self, server: ProbeServer) -> None:
        """Listen, and look whether the tables are usable; a database that does not answer is waited for later."""
        if port := self._settings.port:
            try:
                await server.start(self._settings.web_host, port)
            except OSError as error:
                where = f"TES_REPORT_PORT: {port}: TES_REPORT_WEB_HOST {self._settings.web_host}"
                raise OSError(error.errno, f"{where}: {error.strerror or error}") from None
        with suppress(SQLAlchemyError):
            await asyncio.to_thread(self._database.migrate)
        if self._serving is not None:
            await self._serving.start()
            about = log_event("report_serving", host=self._settings.api_host, port=self._serving.port)
            log.info("API and page at %s port %d", self._settings.api_host, self._serving.port, extra=about)
        self._is_started = True

    def _probes(self) -> Mapping[str, Probe]:
        def live() -> tuple[bool, Mapping[str, Any]]:
            return self._heartbeat.is_alive, {"alive": self._heartbeat.is_alive}

        def started() -> tuple[bool, Mapping[str, Any]]:
            return self._is_started, {"started": self._is_started}

        return {LIVE: live, STARTED: started, READY: self._readyz, SERVING: self._servingz}

    def _readyz(self) -> tuple[bool, Mapping[str, Any]]:
        status = self._reader.status
        why = not_ready_because(status, wall_clock_ms())
        return why is None, {
            "ready": why is None,
            "why": why,
            "state": str(status.state),
            "has_lease": status.has_lease,
            "current_at": status.current_at,
            "lag": dict(status.lag),
            "failures": dict(status.failures),
            "unreadable": dict(status.unreadable),
        }

    def _servingz(self) -> tuple[bool, Mapping[str, Any]]:
        status = self._reader.status
        why = not_serving_because(status, wall_clock_ms())
        return why is None, {"serving": why is None, "why": why, "current_at": status.current_at}
