"""What a worker shows of itself: wires metrics, probes and the engine together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from streams.engine.observer import Observer, Observers, Tracer
from streams.kafka.secret_files import SecretFileError, read_secret
from streams.settings.worker import Settings
from streams.state.server_row import STATE_FORMAT
from streams.telemetry.logs import configure_logs
from streams.telemetry.metrics import CONTENT_TYPE, Metrics
from streams.telemetry.probes import Heartbeat, WorkerSite

if TYPE_CHECKING:
    from streams.telemetry.tracing import Tracing

SILENT_STALLS = 3
"""The watchdog looks ten times in `TES_STALL_SECONDS`, and waits as long as that for a broker that does not answer."""


def secrets_of(settings: Settings) -> list[str]:
    """What must stand in no line of the log: secret settings, and what files of secrets hold at the start."""
    secrets = settings.secrets()
    for file in (settings.kafka_password_file, settings.kafka_client_secret_file, settings.kafka_token_file):
        if file:
            with suppress(SecretFileError):  # whoever needs it says what is wrong
                secrets.append(read_secret(Path(file)))
    return secrets


class Observation:
    """The listeners of one worker, and its web server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.version = version("tes")
        self.metrics = Metrics(self.version, STATE_FORMAT)
        self.pulse = Heartbeat(SILENT_STALLS * settings.stall_seconds)
        self._site = WorkerSite(lambda: self.metrics.status(), self.pulse, self.metrics.page, CONTENT_TYPE)

        self._tracing: Tracing | None = None
        if settings.traces_endpoint:
            # Neither installed nor loaded where it is not wanted.
            from streams.telemetry.tracing import Tracing, exporting

            self._tracing = Tracing(exporting(settings.traces_endpoint), self.version, settings.instance_id)

    @property
    def observer(self) -> Observer:
        """Whom the engine tells."""
        return self.metrics if self._tracing is None else Observers((self.metrics, self._tracing))

    @property
    def tracer(self) -> Tracer | None:
        """What follows records; None where traces are off."""
        return self._tracing

    def timers_counted(self, partition: int) -> Callable[[int], None]:
        """Takes how many timers wait in a partition."""
        return lambda count: self.metrics.timers_counted(partition, count)

    def configure_logs(self) -> None:
        """Let every line of the process come out as the settings say."""
        configure_logs(self._settings.log_format, secrets_of(self._settings), self.metrics.event_logged)

    def close(self) -> None:
        """Send what is left of the traces."""
        if self._tracing is not None:
            self._tracing.close()

    async def start(self) -> None:
        """Serve probes and metrics, if the settings say so.

        Raises:
            OSError: the port is taken.
        """
        if self._settings.web_port:
            await self._site.start(self._settings.web_host, self._settings.web_port)
