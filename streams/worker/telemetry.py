"""What a worker shows of itself: hands what it is told to metrics, traces and probes, and serves these."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from streams.engine.ports import Record
from streams.engine.status import BEFORE_THE_START, WorkerStatus
from streams.engine.telemetry import PresentState, Telemetry, Trace, UnitReport
from streams.kafka.secret_files import secrets_of
from streams.settings.worker import Settings
from streams.state.row_format import STATE_FORMAT
from streams.telemetry.logs import configure_logs
from streams.telemetry.metrics import Metrics
from streams.telemetry.probes import Heartbeat, Page, ProbeServer
from streams.telemetry.prometheus import CONTENT_TYPE
from streams.worker.probes import probes_of

if TYPE_CHECKING:
    from streams.telemetry.tracing import Tracing

SILENT_STALLS = 3
"""The watchdog looks ten times in `TES_STALL_SECONDS`, and waits as long as that for a broker that does not answer."""


class WorkerTelemetry(Telemetry):
    """The listeners of one worker, and its web server, which is up before Kafka is asked for anything."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.version = version("tes")
        self._metrics = Metrics(self.version, STATE_FORMAT)
        self._heartbeat = Heartbeat(SILENT_STALLS * settings.stall_seconds)
        self._present: PresentState | None = None
        self._server = ProbeServer(probes_of(self._status, self._heartbeat), Page(self.metrics_page, CONTENT_TYPE))
        self._tracing: Tracing | None = None
        if settings.traces_endpoint:
            # Neither installed nor loaded where it is not wanted.
            from streams.telemetry.tracing import Tracing, exporting

            self._tracing = Tracing(exporting(settings.traces_endpoint), self.version, settings.instance_id)

    def worker_built(self, present: PresentState) -> None:
        """See `Telemetry`."""
        self._present = present
        self._metrics.worker_built(present)

    def watchdog_looked(self) -> None:
        """See `Telemetry`."""
        self._heartbeat.beat()

    def unit_committed(self, report: UnitReport) -> None:
        """See `Telemetry`."""
        self._metrics.unit_committed(report)
        if self._tracing is not None:
            self._tracing.unit_committed(report)

    def timers_counted(self, partition: int, count: int) -> None:
        """See `Telemetry`."""
        self._metrics.timers_counted(partition, count)

    def begin_trace(self, record: Record) -> Trace | None:
        """See `Telemetry`; None where traces are off."""
        return self._tracing.begin_trace(record) if self._tracing is not None else None

    def event_logged(self, name: str) -> None:
        """See `Telemetry`."""
        self._metrics.event_logged(name)

    def metrics_page(self) -> bytes:
        """What `/metrics` answers."""
        return self._metrics.page()

    def configure_logs(self, *, is_verbose: bool = True) -> None:
        """Let the lines of the process come out as the settings say; for people less of libraries, unless verbose."""
        secrets = secrets_of(self._settings)
        configure_logs(self._settings.log_format, secrets, self.event_logged, shows_libraries=is_verbose)

    async def start(self) -> None:
        """Serve probes and metrics, if the settings say so.

        Raises:
            OSError: the port is taken; the message names the settings.
        """
        host, port = self._settings.web_host, self._settings.web_port
        if not port:
            return
        try:
            await self._server.start(host, port)
        except OSError as error:
            why = f"TES_WEB_PORT: {port}: TES_WEB_HOST {host}: {error.strerror or error}"
            raise OSError(error.errno, why) from None

    def close(self) -> None:
        """Send what is left of the traces."""
        if self._tracing is not None:
            self._tracing.close()

    def _status(self) -> WorkerStatus:
        return BEFORE_THE_START if self._present is None else self._present.status()
